-- KEYS[1] mark, KEYS[2..1 + num_kept] blobs in use, the rest blobs to remove;
-- mark seen, new mark, time to live (s), num_kept[, blob for KEYS[2]] -> 1, or 0 if the mark is not the one seen
local call = redis.call
local seen, mark, ttl_s, num_kept, blob = unpack(ARGV)

if (call('GET', KEYS[1]) or '') ~= seen then
  return 0
end
if blob then
  call('SET', KEYS[2], blob)
end
call('SET', KEYS[1], mark, 'EX', ttl_s)
for i = 2, #KEYS do
  if i <= 1 + num_kept then
    call('EXPIRE', KEYS[i], ttl_s)
  else
    call('UNLINK', KEYS[i])
  end
end
return 1

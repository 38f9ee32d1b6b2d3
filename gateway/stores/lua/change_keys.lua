-- KEYS[1] revision, KEYS[2] keys by digest, KEYS[3] terms by tenant;
-- revision seen, new revision, then for each change: index of the hash, field, value (empty: remove it)
-- -> 1, or 0 if the revision is not the one seen
local call = redis.call

if (call('GET', KEYS[1]) or '') ~= ARGV[1] then
  return 0
end
for i = 3, #ARGV, 3 do
  local hash, field, value = KEYS[tonumber(ARGV[i])], ARGV[i + 1], ARGV[i + 2]
  if value == '' then
    call('HDEL', hash, field)
  else
    call('HSET', hash, field, value)
  end
end
call('SET', KEYS[1], ARGV[2])
return 1

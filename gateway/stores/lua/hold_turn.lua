-- KEYS[1] whose turn it is; who asks, for how long (ms) -> 1, or 0 if it is another's
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1

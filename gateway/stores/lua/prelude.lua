-- Put before every operation. KEYS[1..6] are the fixed keys, KEYS[7..] the applications or the source it names;
-- ARGV[1..2] the times to live (s) of the fixed keys and of an application, ARGV[3..] what the operation takes.
--
-- The arithmetic is that of gateway/fairness/virtual_clock.py, the same operations in the same order, so that both
-- stores agree to the last bit. Numbers are kept and answered as text(x), which a double survives unchanged.
local call = redis.call
local CLOCK, BACKLOGGED, WEIGHTS, OPEN, LAST_SEEN, KINDS = unpack(KEYS, 1, 6)

local function text(x)
  return string.format('%.17g', x)
end

local kept = call('HMGET', CLOCK, 'virtual_time', 'weight_sum')
local virtual_time, weight_sum = tonumber(kept[1] or 0), tonumber(kept[2] or 0)

-- The clock, the backlogged and their weights are one thing in three keys. Where Redis has lost one of them (evicted or
-- timed out), what is left is not a clock: order starts afresh, and open applications keep their finish times.
local num_backlogged = call('ZCARD', BACKLOGGED)
if num_backlogged ~= call('HLEN', WEIGHTS) or (num_backlogged > 0) ~= (weight_sum > 0) then
  call('DEL', BACKLOGGED, WEIGHTS)
  weight_sum = 0
end

local function keep(key, ttl_s)
  call('EXPIRE', key, ttl_s)
end

-- Ends every operation that may have changed something.
local function save()
  call('HSET', CLOCK, 'virtual_time', text(virtual_time), 'weight_sum', text(weight_sum))
  for i = 1, 6 do
    keep(KEYS[i], ARGV[1])
  end
end

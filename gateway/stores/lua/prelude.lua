-- Put before every operation, after a line that says which kind of shares these are:
--     local SHARES, NUM_FIXED, MAX_COST, EXACT
-- KEYS[1..NUM_FIXED] are the fixed keys, NAMED the applications or the source that the operation names;
-- ARGV[1..2] the times to live (s) of the fixed keys and of an application, ARGV[3..] what the operation takes.
--
-- The arithmetic is that of gateway/fairness, the same operations in the same order, so that both stores agree to the
-- last bit. Numbers are kept and answered as text(x), which a double survives unchanged.
local call = redis.call
local CLOCK, BACKLOGGED, WEIGHTS, OPEN, LAST_SEEN, KINDS, OWNERS = unpack(KEYS, 1, NUM_FIXED)
local NAMED = { unpack(KEYS, NUM_FIXED + 1) }

local function text(x)
  return string.format('%.17g', x)
end

local function keep(key, ttl_s)
  call('EXPIRE', key, ttl_s)
end

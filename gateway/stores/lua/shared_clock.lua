-- The clock of those who have the shares.

local kept = call('HMGET', CLOCK, 'virtual_time', 'weight_sum', 'shares')

-- Who has the shares is marked, 'application' where nothing is. Under another mark this is another order: a new one
-- starts where virtual time is. Open applications stay known, and are entered anew when they are next named.
if (kept[3] or 'application') ~= SHARES then
  call('DEL', BACKLOGGED, WEIGHTS, OPEN)
end
local clock = as_clock(kept[1], kept[2], BACKLOGGED, WEIGHTS, OPEN)

-- Ends every operation that may have changed something.
local function save()
  call('HSET', CLOCK, 'virtual_time', text(clock.virtual_time), 'weight_sum', text(clock.weight_sum), 'shares', SHARES)
  for i = 1, NUM_FIXED do
    keep(KEYS[i], ARGV[1])
  end
end

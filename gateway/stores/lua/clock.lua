-- A virtual clock (gateway/fairness/virtual_clock.py): who is backlogged (finish time > virtual time) and how far
-- service moves virtual time. A table of two numbers, virtual_time and weight_sum, and of three keys: backlogged, a
-- sorted set by finish time; weights, a hash of theirs; open, a sorted set of all that are open by finish time.

local function as_clock(virtual_time, weight_sum, backlogged, weights, open)
  local clock = {
    virtual_time = tonumber(virtual_time or 0), weight_sum = tonumber(weight_sum or 0),
    backlogged = backlogged, weights = weights, open = open,
  }
  -- The numbers, the backlogged and their weights are one thing in three keys. Where Redis has lost one of them
  -- (evicted or timed out), what is left is not a clock: order starts afresh, and who is open keeps its finish time.
  local num_backlogged = call('ZCARD', backlogged)
  if num_backlogged ~= call('HLEN', weights) or (num_backlogged > 0) ~= (clock.weight_sum > 0) then
    call('DEL', backlogged, weights)
    clock.weight_sum = 0
  end
  return clock
end

local function depart(clock, id)
  clock.weight_sum = clock.weight_sum - tonumber(call('HGET', clock.weights, id) or 0)
  call('HDEL', clock.weights, id)
  call('ZREM', clock.backlogged, id)
end

-- Where an id that arrives begins. One that comes back unfinished in GPS goes on where its old episode ends, with one
-- weight: its new one.
local function start_of(clock, id)
  local unfinished = call('ZSCORE', clock.backlogged, id)
  if not unfinished then
    return clock.virtual_time
  end
  depart(clock, id)
  return tonumber(unfinished)
end

-- Open at finish time = start + cost / weight: join, move or leave the backlogged as that says.
local function place(clock, id, start, cost, weight)
  local finish = start + cost * 1000 / weight
  call('ZADD', clock.open, text(finish), id)
  local was_backlogged = call('ZSCORE', clock.backlogged, id)
  if finish > clock.virtual_time then
    if not was_backlogged then
      clock.weight_sum = clock.weight_sum + weight
      call('HSET', clock.weights, id, text(weight))
    end
    call('ZADD', clock.backlogged, text(finish), id)
  elseif was_backlogged then
    depart(clock, id)
  end
  return finish
end

-- The smallest finish time of the backlogged and whose it is; nil if there is nobody.
local function next_departure(clock)
  local first = call('ZRANGE', clock.backlogged, 0, 0, 'WITHSCORES')
  return tonumber(first[2]), first[1]
end

-- Everybody whose finish time is reached departs, ties included. Answers the next departure.
local function advance_to(clock, reading)
  clock.virtual_time = reading
  local finish, id = next_departure(clock)
  while finish and finish <= reading do
    depart(clock, id)
    finish, id = next_departure(clock)
  end
  return finish
end

local function advance_by(clock, service)
  local finish = next_departure(clock)
  while service > 0 and finish do
    local needed = (finish - clock.virtual_time) * clock.weight_sum / 1000
    if service >= needed then
      finish = advance_to(clock, finish)
      service = service - needed
    else
      advance_to(clock, math.min(clock.virtual_time + service * 1000 / clock.weight_sum, finish))
      service = 0
    end
  end
end

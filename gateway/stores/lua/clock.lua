-- The virtual clock: who is backlogged (finish time > virtual time) and how far service moves virtual time.

local function depart(id)
  weight_sum = weight_sum - tonumber(call('HGET', WEIGHTS, id) or 0)
  call('HDEL', WEIGHTS, id)
  call('ZREM', BACKLOGGED, id)
end

-- Join, move or leave the backlogged as the finish time says.
local function place(id, finish, weight)
  local was_backlogged = call('ZSCORE', BACKLOGGED, id)
  if finish > virtual_time then
    if not was_backlogged then
      weight_sum = weight_sum + weight
      call('HSET', WEIGHTS, id, text(weight))
    end
    call('ZADD', BACKLOGGED, text(finish), id)
  elseif was_backlogged then
    depart(id)
  end
end

-- The smallest finish time of the backlogged and whose it is; nil if there is nobody.
local function next_departure()
  local first = call('ZRANGE', BACKLOGGED, 0, 0, 'WITHSCORES')
  return tonumber(first[2]), first[1]
end

-- Everybody whose finish time is reached departs, ties included. Answers the next departure.
local function advance_to(reading)
  virtual_time = reading
  local finish, id = next_departure()
  while finish and finish <= virtual_time do
    depart(id)
    finish, id = next_departure()
  end
  return finish
end

local function advance_by(service)
  local finish = next_departure()
  while service > 0 and finish do
    local needed = (finish - virtual_time) * weight_sum / 1000
    if service >= needed then
      finish = advance_to(finish)
      service = service - needed
    else
      advance_to(math.min(virtual_time + service * 1000 / weight_sum, finish))
      service = 0
    end
  end
end

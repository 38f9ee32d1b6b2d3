-- A share for each application: it is on the clock itself, and its finish time stays as it is placed.

-- What an application's hash holds if it has a place in this order.
local PLACE = 'virtual_finish_time'

local function is_placed(id, finish)
  return finish
end

local function place_at(application, id, start, cost, weight)
  local finish = place(clock, id, start, cost, weight)
  call('HSET', application, 'virtual_start', text(start), 'virtual_finish_time', text(finish))
end

local function enter(application, id, tenant, tenant_weight, weight, cost)
  place_at(application, id, start_of(clock, id), cost, weight)
end

-- It goes by this cost now, of which it has had `service`.
local function update(application, id, cost, service)
  local start, weight = unpack(call('HMGET', application, 'virtual_start', 'weight'))
  place_at(application, id, tonumber(start), cost, tonumber(weight))
end

-- Stays among the backlogged until virtual time has reached its finish.
local function leave(id)
  call('ZREM', OPEN, id)
end

-- Its hash has the finish time, and what is due follows from that: the caller's arithmetic, not this server's.
local function with_finish_and_due(application, id, fields)
  return fields
end

local function finish_times(ids)
  return call('ZMSCORE', OPEN, unpack(ids))
end

-- Of the backlogged and of the open, the first `limit` in order of (finish time, id), each with its finish time.
local function first_of_all(limit)
  local last = limit - 1
  return call('ZRANGE', BACKLOGGED, 0, last, 'WITHSCORES'), call('ZRANGE', OPEN, 0, last, 'WITHSCORES')
end

local function forget_order()
  call('DEL', OPEN)
end

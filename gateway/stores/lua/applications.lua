-- Open applications: a hash each, and two sorted sets over them, by finish time and by when they were last seen.

local function standing(application)
  return call('HMGET', application, 'tenant', 'kind', 'parent', 'weight', 'predicted_cost', 'service',
    'virtual_start', 'virtual_finish_time', 'arrived_at', 'last_seen_at')
end

-- Skewed clocks never move it back.
local function see(application, id, now)
  if now > tonumber(call('HGET', application, 'last_seen_at')) then
    call('HSET', application, 'last_seen_at', text(now))
    call('ZADD', LAST_SEEN, text(now), id)
  end
  keep(application, ARGV[2])
end

-- finish time = start + cost / weight
local function finish_at(application, id, start, cost, weight)
  local finish = start + cost * 1000 / weight
  call('HSET', application, 'virtual_finish_time', text(finish))
  call('ZADD', OPEN, text(finish), id)
  place(id, finish, weight)
end

local function settle(application, id, cost)
  local tag = call('HMGET', application, 'virtual_start', 'weight')
  finish_at(application, id, tonumber(tag[1]), cost, tonumber(tag[2]))
end

-- The late rule of gateway/fairness/cost.py, to the bit.
local function counted(predicted_cost, service)
  return math.max(predicted_cost, service)
end

local function forget(application, id)
  call('DEL', application)
  call('ZREM', OPEN, id)
  call('ZREM', LAST_SEEN, id)
end

local function count(field, cost)
  local sum = tonumber(call('HGET', KINDS, 'cost_sum' .. field) or 0)
  call('HSET', KINDS, 'cost_sum' .. field, text(sum + cost))
  call('HINCRBY', KINDS, 'num_settled' .. field, 1)
end

-- Settled at `cost`, if there is one. Stays among the backlogged until virtual time has reached its finish.
local function close(application, id, cost)
  if cost then
    settle(application, id, cost)
    count(':' .. call('HGET', application, 'kind'), cost)
    count('', cost)
  end
  local last = standing(application)
  forget(application, id)
  return last
end

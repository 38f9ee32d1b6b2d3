-- Open applications: a hash each, a sorted set over them by when they were last seen, and a place in the order, which
-- application_shares.lua or tenant_shares.lua keeps.

local function standing(application, id)
  return with_finish_and_due(application, id, call('HMGET', application, 'tenant', 'kind', 'parent', 'weight',
    'predicted_cost', 'service', 'virtual_start', 'virtual_finish_time', 'arrived_at', 'last_seen_at'))
end

-- The late rule of gateway/fairness/cost.py, to the bit.
local function counted(predicted_cost, service)
  return math.max(predicted_cost, service)
end

-- Its predicted cost and what it has had; nil for an unknown application. One that is without a place, since Redis lost
-- that or it was written under the other kind of shares, is given one as if it had arrived now. (Where no tenant's
-- weight is kept, it was written before there were any: one unit.)
local function known(application, id)
  local predicted, charged, its_place = unpack(call('HMGET', application, 'predicted_cost', 'service', PLACE))
  if not predicted then
    return nil
  end
  local cost, service = tonumber(predicted), tonumber(charged)
  if not is_placed(id, its_place) then
    local tenant, tenant_weight, weight = unpack(call('HMGET', application, 'tenant', 'tenant_weight', 'weight'))
    enter(application, id, tenant, tonumber(tenant_weight or 1000), tonumber(weight), cost)
    update(application, id, counted(cost, service), service)
    save()
  end
  return cost, service
end

-- Skewed clocks never move it back.
local function see(application, id, now)
  if now > tonumber(call('HGET', application, 'last_seen_at')) then
    call('HSET', application, 'last_seen_at', text(now))
    call('ZADD', LAST_SEEN, text(now), id)
  end
  keep(application, ARGV[2])
end

local function forget(application, id)
  leave(id)
  call('DEL', application)
  call('ZREM', LAST_SEEN, id)
end

local function count(field, cost)
  local sum = tonumber(call('HGET', KINDS, 'cost_sum' .. field) or 0)
  call('HSET', KINDS, 'cost_sum' .. field, text(sum + cost))
  call('HINCRBY', KINDS, 'num_settled' .. field, 1)
end

-- Settled at `cost`, if there is one.
local function close(application, id, cost)
  if cost then
    update(application, id, cost, cost)
    count(':' .. call('HGET', application, 'kind'), cost)
    count('', cost)
  end
  local last = standing(application, id)
  forget(application, id)
  return last
end

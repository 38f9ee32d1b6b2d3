-- A share for each tenant, whose applications come one after the other: where one of them is depends on the others.
-- Costs count in whole units.

-- What an application's hash holds if it has a place in this order: where it begins on its tenant's own clock.
local PLACE = 'start'

local function is_placed(id, start)
  local tenant = start and tenant_of(id)
  return tenant and call('HEXISTS', tenant.left, id) == 1
end

local function leave(id)
  local tenant = tenant_of(id)
  if tenant and call('HEXISTS', tenant.left, id) == 1 then
    remove(tenant, id)
    if tenant.num_open == 0 then
      -- What GPS has still to serve it stays on the clock, and is where it begins when it comes back.
      forget_tenant(tenant.name)
    end
  end
  call('HDEL', OWNERS, id)
end

-- The tenant has the weight that was given last.
local function enter(application, id, name, tenant_weight, weight, cost)
  leave(id) -- if its hash timed out, the order still has it
  local tenant = tenant_named(name)
  if not tenant then
    tenant = new_tenant(name)
    begin(tenant, tenant_weight)
  elseif tenant.weight ~= tenant_weight or not call('ZSCORE', BACKLOGGED, name) then
    begin(tenant, tenant_weight)
  end
  local start, left = start_of(tenant.clock, id), math.floor(cost)
  call('HSET', application, 'virtual_start', text(clock.virtual_time), 'start', text(start), 'had', '0')
  call('HSET', OWNERS, id, name)
  add(tenant, id, left)
  place(tenant.clock, id, start, left, weight)
  place_tenant(tenant)
end

-- It goes by this cost now, of which it has had `service`.
local function update(application, id, cost, service)
  local tenant = tenant_of(id)
  local start, weight, had = unpack(call('HMGET', application, 'start', 'weight', 'had'))
  cost, service = math.floor(cost), math.floor(service)
  local served, left = service - tonumber(had), math.max(0, cost - service)
  call('HSET', application, 'had', text(service))
  change(tenant, id, served, left)
  place(tenant.clock, id, tonumber(start), service + left, tonumber(weight))
  advance_by(tenant.clock, math.max(0, served))
  place_tenant(tenant)
end

-- Its finish time, and what it would have had by now if its tenant had been served as in GPS, all before it first; what
-- it has had, if that is more.
local function with_finish_and_due(application, id, fields)
  local tenant = tenant_of(id)
  local at = place_in(tenant, id)
  local had, left = tonumber(call('HGET', application, 'had')), tonumber(call('HGET', tenant.left, id))
  local reached = math.min(clock.virtual_time, finish_of(tenant)) - tenant.start
  local beyond = tenant.paid + reached * tenant.weight / 1000 - (work_at(tenant, at) - left)
  fields[8], fields[11] = text(finish_at(tenant, at)), text(had + math.min(math.max(beyond, 0), left))
  return fields
end

local function finish_times(ids)
  local found = {}
  for i, name in ipairs(call('HMGET', OWNERS, unpack(ids))) do
    local tenant = name and tenant_named(name)
    local at = tenant and place_in(tenant, ids[i])
    found[i] = at and text(finish_at(tenant, at)) or false
  end
  return found
end

-- Appends `limit` of a tenant's applications from a place on, each with its finish time, and those that finish with the
-- last of them, of which others may come first by id.
local function list(found, tenant, first, limit)
  local last = math.min(first + limit - 1, tenant.num_open)
  while last < tenant.num_open and finish_at(tenant, last + 1) == finish_at(tenant, last) do
    last = last + 1
  end
  if first <= last then
    for i, id in ipairs(call('ZRANGE', tenant.clock.open, first - 1, last - 1)) do
      found[#found + 1] = id
      found[#found + 1] = text(finish_at(tenant, first + i - 1))
    end
  end
end

-- The place of a tenant's first application with a finish time ahead of virtual time. Finish times rise with the place.
local function first_ahead(tenant)
  local low, high = 1, tenant.num_open + 1
  while low < high do
    local middle = math.floor((low + high) / 2)
    if finish_at(tenant, middle) > clock.virtual_time then
      high = middle
    else
      low = middle + 1
    end
  end
  return low
end

-- Of those ahead of virtual time and of the open, the first `limit` in order of (finish time, id), and some more: of
-- each tenant as many as may be among them. Each with its finish time.
local function first_of_all(limit)
  local backlogged, open = {}, {}
  for _, name in ipairs(call('ZRANGE', OPEN, 0, -1)) do
    local tenant = tenant_named(name)
    if tenant then
      list(backlogged, tenant, first_ahead(tenant), limit)
      list(open, tenant, 1, limit)
    end
  end
  return backlogged, open
end

local function forget_order()
  for _, name in ipairs(call('ZRANGE', OPEN, 0, -1)) do
    forget_tenant(name)
  end
end

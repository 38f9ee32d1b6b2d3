-- Tenants that have open applications (gateway/fairness/tenant_clock.py). On the shared clock each is one member; the
-- order of its applications is a clock of its own. Whose an application is shows only here, so the names of a tenant's
-- keys are made here. They are under the same hash tag as CLOCK, and so in the same slot.
local PREFIX = string.sub(CLOCK, 1, -#'clock' - 1)
local KEY_NAMES = { 'tenant:', 'tenant-open:', 'tenant-backlogged:', 'tenant-weights:', 'tenant-left:' }
local NUMBERS = { 'weight', 'start', 'handed_in', 'done', 'paid', 'virtual_time', 'weight_sum' }

-- OPEN names tenants here, and OWNERS the tenant of each open application. Where one of them is lost, nothing else that
-- is known of tenants tells anything: all start afresh.
if call('EXISTS', OPEN) ~= call('EXISTS', OWNERS) then
  call('DEL', OPEN, OWNERS, BACKLOGGED, WEIGHTS)
  clock.weight_sum = 0
end

local tenants = {} -- those that this operation is about, by name

local function tenant_keys(name)
  local keys = {}
  for i, key_name in ipairs(KEY_NAMES) do
    keys[i] = PREFIX .. key_name .. name
  end
  return keys
end

local function forget_tenant(name)
  tenants[name] = nil
  call('DEL', unpack(tenant_keys(name)))
  call('ZREM', OPEN, name)
end

local function as_tenant(name, keys, kept)
  local tenant = { name = name, keys = keys, left = keys[5] }
  for i = 1, 5 do
    tenant[NUMBERS[i]] = tonumber(kept[i] or 0)
  end
  tenant.clock = as_clock(kept[6], kept[7], keys[3], keys[4], keys[2])
  tenants[name] = tenant
  return tenant
end

-- A tenant that has lost one of its keys (evicted or timed out) is unknown, and starts afresh.
local function tenant_named(name)
  if tenants[name] or not call('ZSCORE', OPEN, name) then
    return tenants[name]
  end
  local keys = tenant_keys(name)
  local kept = call('HMGET', keys[1], unpack(NUMBERS))
  local num_open = call('ZCARD', keys[2])
  if not kept[1] or num_open == 0 or num_open ~= call('HLEN', keys[5]) then
    forget_tenant(name)
    depart(clock, name)
    save()
    return nil
  end
  local tenant = as_tenant(name, keys, kept)
  tenant.num_open = num_open
  return tenant
end

local function new_tenant(name)
  forget_tenant(name) -- whatever is left of it from another order
  local tenant = as_tenant(name, tenant_keys(name), {})
  tenant.num_open = 0
  return tenant
end

local function tenant_of(id)
  local name = call('HGET', OWNERS, id)
  return name and tenant_named(name)
end

-- What it has handed in and has not paid for.
local function cost_of(tenant)
  return math.min(math.max(0, tenant.handed_in - tenant.paid), MAX_COST)
end

local function finish_of(tenant)
  return tenant.start + cost_of(tenant) * 1000 / tenant.weight
end

local function place_tenant(tenant)
  place(clock, tenant.name, tenant.start, cost_of(tenant), tenant.weight)
end

-- Now, with what GPS has still to serve it; not before its old end, if it has come back and has not reached that yet.
local function begin(tenant, weight)
  local owed = 0
  if tenant.num_open == 0 then
    tenant.start = start_of(clock, tenant.name)
  else
    local start = math.max(clock.virtual_time, tenant.start)
    owed = math.max(0, finish_of(tenant) - start) * tenant.weight / 1000
    tenant.start = start
    depart(clock, tenant.name)
  end
  tenant.weight, tenant.paid = weight, tenant.handed_in - owed
end

local function add(tenant, id, left)
  tenant.handed_in = tenant.handed_in + left
  tenant.num_open, tenant.works = tenant.num_open + 1, nil
  call('HSET', tenant.left, id, text(left))
end

-- An application of its was served so much, and so much is left of it now.
local function change(tenant, id, served, left)
  tenant.done = tenant.done + served
  tenant.handed_in = tenant.handed_in + (served + left - tonumber(call('HGET', tenant.left, id)))
  tenant.works = nil
  call('HSET', tenant.left, id, text(left))
end

-- An application of its leaves; what was left of it counts as done.
local function remove(tenant, id)
  tenant.done = tenant.done + tonumber(call('HGET', tenant.left, id))
  tenant.num_open, tenant.works = tenant.num_open - 1, nil
  call('HDEL', tenant.left, id)
  call('ZREM', tenant.clock.open, id)
end

-- --- where its applications are -------------------------------------------------------------------------------------

-- Counted from 1; nil for one that is not open.
local function place_in(tenant, id)
  local rank = call('ZRANK', tenant.clock.open, id)
  return rank and rank + 1
end

-- What is left of each of its first applications, in their order.
local function first_left(tenant)
  local ids, left = call('ZRANGE', tenant.clock.open, 0, EXACT - 1), {}
  if tenant.num_open > EXACT then
    return call('HMGET', tenant.left, unpack(ids))
  end
  -- These are all. A short hash is a list, which is walked through once here and not once for each.
  local kept, by_id = call('HGETALL', tenant.left), {}
  for i = 1, #kept, 2 do
    by_id[kept[i]] = kept[i + 1]
  end
  for i, id in ipairs(ids) do
    left[i] = by_id[id]
  end
  return left
end

-- What is done, and left of those up to and with a place. Added up once for all that is asked between two changes, and
-- no further than is asked.
local function work_at(tenant, at)
  if not tenant.works then
    tenant.first_left, tenant.works = first_left(tenant), {}
  end
  local works = tenant.works
  for i = #works + 1, math.min(at, EXACT) do
    works[i] = (works[i - 1] or tenant.done) + tonumber(tenant.first_left[i])
  end
  if at <= EXACT then
    return works[at]
  end
  local each = math.max(0, tenant.handed_in - works[EXACT]) / (tenant.num_open - EXACT)
  return works[EXACT] + each * (at - EXACT)
end

-- Where virtual time has paid for it and for all before it.
local function finish_at(tenant, at)
  return math.max(0, tenant.start + (work_at(tenant, at) - tenant.paid) * 1000 / tenant.weight)
end

-- --- keeping them ---------------------------------------------------------------------------------------------------

local save_clock = save

-- What `save` of the shared clock does, and the same for the tenants.
local function save()
  save_clock()
  for _, tenant in pairs(tenants) do
    local kept = {}
    for i, field in ipairs(NUMBERS) do
      kept[2 * i - 1], kept[2 * i] = field, text(tenant[field] or tenant.clock[field])
    end
    call('HSET', tenant.keys[1], unpack(kept))
    for _, key in ipairs(tenant.keys) do
      keep(key, ARGV[1])
    end
  end
end

-- NAMED[1] application; id, tenant, kind, cost, weight, tenant's weight, now[, parent] -> {virtual time, standing}
local application = NAMED[1]
local id, tenant, kind = ARGV[3], ARGV[4], ARGV[5]
local cost, weight, tenant_weight = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local now, parent = tonumber(ARGV[9]), ARGV[10]

if known(application, id) then
  see(application, id, now)
else
  call('HSET', application, 'tenant', tenant, 'tenant_weight', text(tenant_weight), 'kind', kind,
    'weight', text(weight), 'predicted_cost', text(cost), 'service', '0',
    'arrived_at', text(now), 'last_seen_at', text(now))
  if parent then
    call('HSET', application, 'parent', parent)
  end
  call('ZADD', LAST_SEEN, text(now), id)
  enter(application, id, tenant, tenant_weight, weight, cost)
  keep(application, ARGV[2])
end
save()
return { text(clock.virtual_time), standing(application, id) }

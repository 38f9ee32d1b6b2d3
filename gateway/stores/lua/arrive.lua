-- KEYS[7] application; id, tenant, kind, cost, weight, now[, parent] -> {virtual time, standing}
local application = KEYS[7]
local id, tenant, kind = ARGV[3], ARGV[4], ARGV[5]
local cost, weight, now, parent = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8]), ARGV[9]

if call('EXISTS', application) == 1 then
  see(application, id, now)
else
  -- An id that comes back unfinished in GPS goes on where its old episode ends, with one weight: its new one.
  local start = virtual_time
  local unfinished = call('ZSCORE', BACKLOGGED, id)
  if unfinished then
    start = tonumber(unfinished)
    depart(id)
  end
  call('HSET', application, 'tenant', tenant, 'kind', kind, 'weight', text(weight), 'predicted_cost', text(cost),
    'service', '0', 'virtual_start', text(start), 'arrived_at', text(now), 'last_seen_at', text(now))
  if parent then
    call('HSET', application, 'parent', parent)
  end
  call('ZADD', LAST_SEEN, text(now), id)
  finish_at(application, id, start, cost, weight)
  keep(application, ARGV[2])
end
save()
return { text(virtual_time), standing(application) }

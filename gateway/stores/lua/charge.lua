-- NAMED[1] application; id, service, now -> {virtual time, standing}, or nil for an unknown application
local application, id = NAMED[1], ARGV[3]
local service, now = tonumber(ARGV[4]), tonumber(ARGV[5])

local cost, charged = known(application, id)
if not cost then
  return false
end
local total = math.min(charged + service, MAX_COST)
call('HSET', application, 'service', text(total))
-- A place of its own goes by its cost alone; a tenant's order by what each of its applications has had as well.
if counted(cost, total) ~= cost or SHARES == 'tenant' then
  update(application, id, counted(cost, total), total)
end
see(application, id, now)
save()
return { text(clock.virtual_time), standing(application, id) }

-- NAMED[1] application; id, cost -> {virtual time, standing}, or nil for an unknown application
local application, id, cost = NAMED[1], ARGV[3], tonumber(ARGV[4])

local before, charged = known(application, id)
if not before then
  return false
end
call('HSET', application, 'predicted_cost', text(cost))
update(application, id, counted(cost, charged), charged)
keep(application, ARGV[2])
save()
return { text(clock.virtual_time), standing(application, id) }

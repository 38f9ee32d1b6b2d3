-- KEYS[7] application; id, cost -> {virtual time, standing}, or nil for an unknown application
local application, id, cost = KEYS[7], ARGV[3], tonumber(ARGV[4])

local charged = call('HGET', application, 'service')
if not charged then
  return false
end
call('HSET', application, 'predicted_cost', text(cost))
settle(application, id, counted(cost, tonumber(charged)))
keep(application, ARGV[2])
save()
return { text(virtual_time), standing(application) }

-- KEYS[7] application; id, service, now, most -> {virtual time, standing}, or nil for an unknown application
local application, id = KEYS[7], ARGV[3]
local service, now, most = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])

local charged = call('HGET', application, 'service')
if not charged then
  return false
end
call('HSET', application, 'service', text(math.min(tonumber(charged) + service, most)))
see(application, id, now)
save()
return { text(virtual_time), standing(application) }

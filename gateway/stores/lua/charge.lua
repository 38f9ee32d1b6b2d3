-- KEYS[7] application; id, service, now, most -> {virtual time, standing}, or nil for an unknown application
local application, id = KEYS[7], ARGV[3]
local service, now, most = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])

local charged, predicted = unpack(call('HMGET', application, 'service', 'predicted_cost'))
if not charged then
  return false
end
local total, cost = math.min(tonumber(charged) + service, most), tonumber(predicted)
call('HSET', application, 'service', text(total))
if counted(cost, total) ~= cost then
  settle(application, id, total)
end
see(application, id, now)
save()
return { text(virtual_time), standing(application) }

-- KEYS[7] application; id[, cost] -> {virtual time, last standing}, or nil for an unknown application
local application, id, cost = KEYS[7], ARGV[3], tonumber(ARGV[4])

if call('EXISTS', application) == 0 then
  return false
end
local last = close(application, id, cost)
save()
return { text(virtual_time), last }

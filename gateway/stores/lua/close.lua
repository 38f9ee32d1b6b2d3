-- NAMED[1] application; id[, cost] -> {virtual time, last standing}, or nil for an unknown application
local application, id, cost = NAMED[1], ARGV[3], tonumber(ARGV[4])

if not known(application, id) then
  return false
end
local last = close(application, id, cost)
save()
return { text(clock.virtual_time), last }

-- NAMED[1] application; id -> {virtual time, standing}, or nil for an unknown application
local application, id = NAMED[1], ARGV[3]

if not known(application, id) then
  return false
end
return { text(clock.virtual_time), standing(application, id) }

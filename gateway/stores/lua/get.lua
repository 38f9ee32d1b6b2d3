-- KEYS[7] application -> {virtual time, standing}, or nil for an unknown application
if call('EXISTS', KEYS[7]) == 0 then
  return false
end
return { text(virtual_time), standing(KEYS[7]) }

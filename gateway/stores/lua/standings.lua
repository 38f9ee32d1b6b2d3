-- NAMED applications; ids -> {virtual time, {index, standing}...} of those that are known, by index in NAMED
local answer = { text(clock.virtual_time) }

for i, application in ipairs(NAMED) do
  local id = ARGV[2 + i]
  if known(application, id) then
    answer[#answer + 1] = { i - 1, standing(application, id) }
  end
end
return answer

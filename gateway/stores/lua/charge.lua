-- NAMED applications; now, then id and service of each -> {virtual time, {index, standing}...} of those that are known, by
-- index in NAMED
local now = tonumber(ARGV[3])
local answer = { text(clock.virtual_time) }

for i, application in ipairs(NAMED) do
  local id, service = ARGV[2 + 2 * i], tonumber(ARGV[3 + 2 * i])
  local cost, charged = known(application, id)
  if cost then
    local total = math.min(charged + service, MAX_COST)
    call('HSET', application, 'service', text(total))
    -- A place of its own goes by its cost alone; a tenant's order by what each of its applications has had as well.
    if counted(cost, total) ~= cost or SHARES == 'tenant' then
      update(application, id, counted(cost, total), total)
    end
    see(application, id, now)
    answer[#answer + 1] = { i - 1, standing(application, id) }
  end
end
if #answer > 1 then
  save()
end
return answer

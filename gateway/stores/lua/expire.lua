-- NAMED applications; idle_before, ids... -> {virtual time, {index, standing}...} of those closed, by index in NAMED
-- The caller chose them from LAST_SEEN; what has been seen or closed since is spared here.
local idle_before = tonumber(ARGV[3])
local answer = { text(clock.virtual_time) }

for i, application in ipairs(NAMED) do
  local id = ARGV[3 + i]
  local last_seen_at = call('HGET', application, 'last_seen_at')
  if not last_seen_at then
    forget(application, id) -- its hash timed out: only the order and the sorted sets still name it
  elseif tonumber(last_seen_at) < idle_before then
    local _, charged = known(application, id)
    answer[#answer + 1] = { i - 1, close(application, id, charged > 0 and charged or nil) }
  end
end
save()
return answer

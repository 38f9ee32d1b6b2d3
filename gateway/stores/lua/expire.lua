-- KEYS[7..] applications; idle_before, ids... -> {virtual time, {index, standing}...} of those closed, by index in KEYS
-- The caller chose them from LAST_SEEN; what has been seen or closed since is spared here.
local idle_before = tonumber(ARGV[3])
local answer = { text(virtual_time) }

for i = 7, #KEYS do
  local application, id = KEYS[i], ARGV[i - 3]
  local charged, last_seen_at = unpack(call('HMGET', application, 'service', 'last_seen_at'))
  if not last_seen_at then
    forget(application, id) -- its hash timed out: only the sorted sets still name it
  elseif tonumber(last_seen_at) < idle_before then
    local cost = tonumber(charged)
    answer[#answer + 1] = { i - 7, close(application, id, cost > 0 and cost or nil) }
  end
end
save()
return answer

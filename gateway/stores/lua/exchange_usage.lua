-- KEYS[1] the gateway's last sequence number, KEYS[2..] hashes of tenants;
-- gateway, sequence, time to live (s), heartbeat (s), then of each tenant: tokens, kv_token_time, their leaks a second,
-- num_running -> of each tenant: tokens, kv_token_time, calls running elsewhere
-- A tenant's hash: tokens, kv_token_time, at, and run:GATEWAY = "num_running until".
-- Time is this server's, so that gateways whose clocks differ leak alike.
local call = redis.call
local gateway, sequence, ttl_s, heartbeat_s = ARGV[1], tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4])
local clock = call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1e6

local function text(x)
  return string.format('%.17g', x)
end

local is_new = sequence > tonumber(call('GET', KEYS[1]) or '-1')
if is_new then
  call('SET', KEYS[1], text(sequence), 'EX', ttl_s)
else
  call('EXPIRE', KEYS[1], ttl_s)
end

local function elsewhere(key, kept)
  local sum = 0
  for i = 1, #kept, 2 do
    local other = string.match(kept[i], '^run:(.*)$')
    if other then
      local num, untill = string.match(kept[i + 1], '^(%d+) (.+)$')
      if not num or tonumber(untill) <= now then
        call('HDEL', key, kept[i])
      elseif other ~= gateway then
        sum = sum + tonumber(num)
      end
    end
  end
  return sum
end

local answer = {}
for i = 2, #KEYS do
  local key, first = KEYS[i], 5 + (i - 2) * 5
  local seen = call('HMGET', key, 'tokens', 'kv_token_time', 'at')
  local at = math.max(now, tonumber(seen[3] or now))
  local elapsed_s = at - tonumber(seen[3] or now)
  for which = 0, 1 do
    local leak = tonumber(ARGV[first + 2 + which])
    local level = math.max(0, tonumber(seen[1 + which] or 0) - leak * elapsed_s)
    if is_new then
      level = math.max(0, level + tonumber(ARGV[first + which]))
    end
    call('HSET', key, which == 0 and 'tokens' or 'kv_token_time', text(level))
    answer[#answer + 1] = text(level)
  end
  call('HSET', key, 'at', text(at), 'run:' .. gateway, ARGV[first + 4] .. ' ' .. text(now + heartbeat_s))
  answer[#answer + 1] = tostring(elsewhere(key, call('HGETALL', key)))
  call('EXPIRE', key, ttl_s)
end
return answer

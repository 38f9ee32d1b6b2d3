-- KEYS[1] the gateway's last sequence number, KEYS[2] tenants by when they were last told of, then of each tenant its
-- sums and its applications;
-- sequence, its time to live (s), a tenant's, an application's, max_tenants, max_applications, then of each tenant: its
-- name and {"amounts": {name: amount}, "applications": {name: [calls, kv_token_time]}}
-- -> tenants that are to be forgotten
-- Sums: since, day and hour (which ones), and total.NAME, day.NAME, hour.NAME. An application: "at calls kv_token_time".
-- Time is this server's, so that gateways whose clocks differ agree on days.
local call = redis.call
local sequence, sequence_ttl_s, tenant_ttl_s, application_ttl_s = tonumber(ARGV[1]), ARGV[2], ARGV[3], ARGV[4]
local max_tenants, max_applications = tonumber(ARGV[5]), tonumber(ARGV[6])
local clock = call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1e6

local function text(x)
  return string.format('%.17g', x)
end

if sequence <= tonumber(call('GET', KEYS[1]) or '-1') then
  return {}
end
call('SET', KEYS[1], text(sequence), 'EX', sequence_ttl_s)

local function begin(key, span, number)
  if call('HGET', key, span) ~= number then
    for _, name in ipairs(call('HKEYS', key)) do
      if string.sub(name, 1, #span + 1) == span .. '.' then
        call('HDEL', key, name)
      end
    end
    call('HSET', key, span, number)
  end
end

local function trim(key)
  local kept = call('HGETALL', key)
  local by_time = {}
  for i = 1, #kept, 2 do
    by_time[#by_time + 1] = { kept[i], tonumber(string.match(kept[i + 1], '^%S+')) or 0 }
  end
  table.sort(by_time, function(a, b)
    return a[2] < b[2] or (a[2] == b[2] and a[1] < b[1])
  end)
  for i = 1, #by_time - max_applications do
    call('HDEL', key, by_time[i][1])
  end
end

for i = 3, #KEYS, 2 do
  local sums, applications, first = KEYS[i], KEYS[i + 1], 6 + i - 2
  local used = cjson.decode(ARGV[first + 1])
  call('HSETNX', sums, 'since', text(now))
  begin(sums, 'day', text(math.floor(now / 86400)))
  begin(sums, 'hour', text(math.floor(now / 3600)))
  for name, amount in pairs(used.amounts) do
    for _, span in ipairs({ 'total.', 'day.', 'hour.' }) do
      call('HSET', sums, span .. name, text(tonumber(call('HGET', sums, span .. name) or 0) + amount))
    end
  end
  call('EXPIRE', sums, tenant_ttl_s)
  for name, amounts in pairs(used.applications) do
    local calls, service = string.match(call('HGET', applications, name) or '', '^%S+ (%S+) (%S+)$')
    calls, service = (tonumber(calls) or 0) + amounts[1], (tonumber(service) or 0) + amounts[2]
    call('HSET', applications, name, text(now) .. ' ' .. text(calls) .. ' ' .. text(service))
  end
  if call('HLEN', applications) > max_applications then
    trim(applications)
  end
  call('EXPIRE', applications, application_ttl_s)
  call('ZADD', KEYS[2], text(now), ARGV[first])
end

call('EXPIRE', KEYS[2], tenant_ttl_s)
local forgotten = {}
local surplus = call('ZCARD', KEYS[2]) - max_tenants
if surplus > 0 then
  local popped = call('ZPOPMIN', KEYS[2], surplus)
  for i = 1, #popped, 2 do
    forgotten[#forgotten + 1] = popped[i]
  end
end
return forgotten

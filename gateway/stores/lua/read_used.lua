-- KEYS[1] a tenant's sums, KEYS[2] its applications -> this server's time, and both, flat
local clock = redis.call('TIME')
return { clock[1] .. '.' .. string.format('%06d', clock[2]), redis.call('HGETALL', KEYS[1]), redis.call('HGETALL', KEYS[2]) }

-- NAMED[1] source; incarnation, counter -> virtual time
-- Incarnations are nanoseconds, beyond a double: digit strings of one length, which compare as their numbers do.
local source, incarnation, counter = NAMED[1], ARGV[3], tonumber(ARGV[4])
local last = call('HMGET', source, 'incarnation', 'counter')
local last_incarnation, last_counter = last[1], tonumber(last[2] or 0)

local is_first = not last_incarnation
local is_restart = not is_first and incarnation > last_incarnation
local has_grown = incarnation == last_incarnation and counter > last_counter

if is_first or is_restart or has_grown then
  call('HSET', source, 'incarnation', incarnation, 'counter', text(counter))
end
if is_restart then
  advance_by(clock, counter)
elseif has_grown then
  advance_by(clock, counter - last_counter)
end
keep(source, ARGV[1])
save()
return text(clock.virtual_time)

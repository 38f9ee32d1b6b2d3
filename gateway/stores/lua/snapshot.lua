-- last index wanted -> {virtual time, backlogged ids, open ids}, both in order of (finish time, id)
local last = ARGV[3]
if last == '-1' then -- none; to ZRANGE it would mean all
  return { text(virtual_time), {}, {} }
end
return { text(virtual_time), call('ZRANGE', BACKLOGGED, 0, last), call('ZRANGE', OPEN, 0, last) }

-- how many -> {virtual time, backlogged, open}; both are ids and finish times by turns, among them the first so many in
-- order of (finish time, id). The caller puts them in order: text compares here as the server's locale says.
local limit = tonumber(ARGV[3])
if limit == 0 then
  return { text(clock.virtual_time), {}, {} }
end
return { text(clock.virtual_time), first_of_all(limit) }

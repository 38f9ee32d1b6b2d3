-- service -> virtual time
advance_by(tonumber(ARGV[3]))
save()
return text(virtual_time)

-- service -> virtual time
advance_by(clock, tonumber(ARGV[3]))
save()
return text(clock.virtual_time)

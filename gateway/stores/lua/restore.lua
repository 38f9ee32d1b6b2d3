-- virtual time seen -> virtual time
advance_to(clock, math.max(clock.virtual_time, tonumber(ARGV[3])))
save()
return text(clock.virtual_time)

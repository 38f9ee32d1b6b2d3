-- virtual time seen -> virtual time
advance_to(math.max(virtual_time, tonumber(ARGV[3])))
save()
return text(virtual_time)

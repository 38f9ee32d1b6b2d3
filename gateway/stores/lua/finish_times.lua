-- ids -> of each its finish time, or nil if it is not open
return finish_times({ unpack(ARGV, 3) })

-- NAMED applications; now, ids...: they are alive. Unknown ones are passed over.
local now = tonumber(ARGV[3])

for i, application in ipairs(NAMED) do
  if call('EXISTS', application) == 1 then
    see(application, ARGV[3 + i], now)
  end
end
save()

-- KEYS[7..] applications; now, ids...: they are alive. Unknown ones are passed over.
local now = tonumber(ARGV[3])

for i = 7, #KEYS do
  if call('EXISTS', KEYS[i]) == 1 then
    see(KEYS[i], ARGV[i - 3], now)
  end
end
save()

-- kind -> running mean of the settled cost of this kind, else of all, else nil
for _, field in ipairs({ ':' .. ARGV[3], '' }) do
  local cost_sum, num_settled = unpack(call('HMGET', KINDS, 'cost_sum' .. field, 'num_settled' .. field))
  if num_settled then
    return text(tonumber(cost_sum) / tonumber(num_settled))
  end
end
return false

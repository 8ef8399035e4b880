-- Read the figures that the exporter shows. KEYS outbox, doomed, counts, then per class live:<class>, root:<class>
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local answer = {redis.call('XLEN', KEYS[1]), redis.call('ZCARD', KEYS[2]), redis.call('HGETALL', KEYS[3]),
  string.format('%.0f', now)}
for i = 4, #KEYS, 2 do
  local oldest = redis.call('ZRANGE', KEYS[i], 0, 0, 'WITHSCORES')
  local overdue = redis.call('ZCOUNT', KEYS[i], '-inf', string.format('%.0f', now))
  local root = redis.call('HMGET', KEYS[i + 1], 'epoch', 'created')
  answer[#answer + 1] = {redis.call('ZCARD', KEYS[i]) - overdue, overdue, oldest[2] or '', root[1] or '', root[2] or ''}
end
return answer

-- Move the deadlines of several objects, all or none. Never makes a row, never passes a ceiling.
-- KEYS row, live:<class> per object      ARGV deadline (ms), '1' if it may come earlier, then blob per object
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local deadline = tonumber(ARGV[1])
if deadline <= now then return {'past'} end
for i = 1, #KEYS / 2 do
  local ceiling = redis.call('HGET', KEYS[2 * i - 1], 'ceiling')
  if not ceiling then return {'gone', i - 1} end
  if deadline > tonumber(ceiling) then return {'ceiling', i - 1} end
end
local answer = {'extended'}
for i = 1, #KEYS / 2 do
  local row = KEYS[2 * i - 1]
  local current = redis.call('PEXPIRETIME', row)
  if deadline > current or ARGV[2] == '1' then
    redis.call('PEXPIREAT', row, ARGV[1])
    redis.call('ZADD', KEYS[2 * i], ARGV[1], ARGV[2 + i])
    current = deadline
  end
  answer[#answer + 1] = string.format('%.0f', current)
end
return answer

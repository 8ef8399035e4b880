-- Writes what became of an owed erasure. KEYS: job hash, owed erasures. ARGV: id, ms until the next attempt or '' if nothing
-- is owed any more, then field/value pairs.
-- A record that has gone meanwhile is not brought back: a hash without a lifetime would stay for ever.
local there = redis.call('EXISTS', KEYS[1]) == 1
if there then
  for i = 3, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
end
if ARGV[2] == '' or not there then
  redis.call('ZREM', KEYS[2], ARGV[1])
else
  local time = redis.call('TIME')
  local again = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[2]
  redis.call('HSET', KEYS[1], 'erase_at', again)
  redis.call('ZADD', KEYS[2], again, ARGV[1])
end
return 1

-- Writes what became of an owed erasure. KEYS: job hash, owed erasures. ARGV: id, transfers, ms until the next attempt or ''.
-- A record that has gone meanwhile is not brought back: a hash without a lifetime would stay for ever.
local there = redis.call('EXISTS', KEYS[1]) == 1
if there then redis.call('HSET', KEYS[1], 'transfers', ARGV[2]) end
if ARGV[3] == '' or not there then
  if there then redis.call('HSET', KEYS[1], 'owed', '0') end
  redis.call('ZREM', KEYS[2], ARGV[1])
else
  local time = redis.call('TIME')
  local again = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[3]
  redis.call('HSET', KEYS[1], 'erase_at', again)
  redis.call('ZADD', KEYS[2], again, ARGV[1])
end
return 1

-- Record that a retired root is destroyed. Says so once, however often it is called. One that was only drawn had no
-- epoch, so its end is not told.
-- KEYS root:<class>, outbox, counts, live:<class>      ARGV class, epoch, residue class of the root store
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
redis.call('HDEL', KEYS[1], 'drawn:' .. ARGV[2])
local retired = redis.call('HGET', KEYS[1], 'retiring:' .. ARGV[2])
if not retired then return 0 end
redis.call('HDEL', KEYS[1], 'retiring:' .. ARGV[2])
redis.call('XADD', KEYS[2], '*', 'v', '1', 'type', 'epoch', 'class', ARGV[1], 'epoch', ARGV[2], 'at', now,
  'retired', retired, 'live', redis.call('ZCARD', KEYS[4]), 'root_class', ARGV[3])
redis.call('HINCRBY', KEYS[3], 'epochs:' .. ARGV[1], 1)
return 1

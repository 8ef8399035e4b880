-- Make a root the current one of its class, and put the one before it up for destruction.
-- KEYS root:<class>      ARGV expected current epoch or '', new epoch, public half, fingerprint
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
local current = redis.call('HGET', KEYS[1], 'epoch')
-- The same call repeated because its answer was lost.
if redis.call('HGET', KEYS[1], 'fingerprint') == ARGV[4] then return 1 end
if (current or '') ~= ARGV[1] then return 0 end
if current then redis.call('HSET', KEYS[1], 'retiring:' .. current, now) end
redis.call('HSET', KEYS[1], 'epoch', ARGV[2], 'public', ARGV[3], 'fingerprint', ARGV[4], 'created', now,
  'renewed', now)
redis.call('HDEL', KEYS[1], 'drawn:' .. ARGV[2])
return 1

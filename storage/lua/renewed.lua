-- Record that a process has just renewed the current root in its root store. Never makes a record.
-- KEYS root:<class>      ARGV fingerprint
if redis.call('HGET', KEYS[1], 'fingerprint') ~= ARGV[1] then return 0 end
local time = redis.call('TIME')
redis.call('HSET', KEYS[1], 'renewed', string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000)))
return 1

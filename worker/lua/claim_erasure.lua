-- Takes on the erasure that an ended job still owes. KEYS: job hash, owed erasures. ARGV: id, lease ms.
-- Returns {} when there is none or somebody is at it, else the record: field, value, ...
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
-- Its place in the queue is when the sweeper looks; whether somebody is at it stands in the record.
if not redis.call('ZSCORE', KEYS[2], ARGV[1]) then return {} end
if redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('ZREM', KEYS[2], ARGV[1])
  return {}
end
if tonumber(redis.call('HGET', KEYS[1], 'erase_at') or '0') > now + 250 then return {} end
redis.call('ZADD', KEYS[2], now + ARGV[2], ARGV[1])
redis.call('HSET', KEYS[1], 'erase_at', now + ARGV[2])
redis.call('HINCRBY', KEYS[1], 'erase_tries', 1)
return redis.call('HGETALL', KEYS[1])

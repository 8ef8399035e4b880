-- Ends a settled job under the outcome it settled with. ARGV: id, fence, ms to keep the record.
-- Returns the time it ended, or 0 when the caller no longer holds the job.
if not holds(ARGV[2]) or redis.call('HGET', job, 'state') ~= 'settled' then return 0 end
local now = now_ms()
enter(ARGV[1], 'settled', redis.call('HGET', job, 'outcome'), now)
redis.call('HSET', job, 'ended_at', now)
redis.call('HDEL', job, 'lease_until', 'wake_at')
redis.call('PEXPIRE', job, ARGV[3])
redis.call('ZREM', open_jobs, ARGV[1])
-- A provider still keeps a copy that nobody has asked it to erase: whoever can, does so after the end.
local left = redis.call('HGET', job, 'left')
if redis.call('HGET', job, 'owed') == '1' or (left and left ~= '[]') then redis.call('ZADD', KEYS[5], now, ARGV[1]) end
return now

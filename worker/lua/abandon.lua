-- Ends a job whose record cannot be read. ARGV: id, ms to keep the record, code, message. Returns 1, or 0 if it has ended.
local state = redis.call('HGET', job, 'state')
if not state or ENDED[state] then return 0 end
local now = now_ms()
-- A state that no job has was counted under the one that it replaced.
enter(ARGV[1], OPEN[state] and state, 'failed', now)
redis.call('HSET', job, 'ended_at', now, 'error_code', ARGV[3], 'error_message', ARGV[4])
redis.call('HDEL', job, 'lease_until', 'wake_at')
redis.call('PEXPIRE', job, ARGV[2])
redis.call('ZREM', open_jobs, ARGV[1])
return 1

-- Moves a held job on. ARGV: id, fence, from, to, lease ms, then field/value pairs stored in the same step.
-- Returns the time it happened, or 0 when the caller no longer holds the job.
if not holds(ARGV[2]) or redis.call('HGET', job, 'state') ~= ARGV[3] then return 0 end
local now = now_ms()
set_fields(6)
enter(ARGV[1], ARGV[3], ARGV[4], now)
redis.call('HSET', job, 'lease_until', now + ARGV[5])
redis.call('ZADD', open_jobs, now + ARGV[5], ARGV[1])
return now

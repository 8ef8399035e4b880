-- Accepts a job. ARGV: id, milliseconds until the sweeper should look, then field/value pairs.
-- Returns 1, or 0 when a job of that id exists.
if redis.call('EXISTS', job) == 1 then return 0 end
local now = now_ms()
redis.call('HSET', job, 'created_at', now, 'fence', 0, 'strikes', 0)
set_fields(3)
enter(ARGV[1], nil, 'accepted', now)
redis.call('ZADD', open_jobs, now + ARGV[2], ARGV[1])
redis.call('ZADD', all_jobs, now, ARGV[1])
return 1

-- Accepts a job. ARGV: id, milliseconds until the sweeper should look, milliseconds its subject is remembered, then
-- field/value pairs. KEYS: the usual, then the jobs of its subject (zset by creation) if it has one.
-- Returns 1, or 0 when a job of that id exists.
if redis.call('EXISTS', job) == 1 then return 0 end
local now = now_ms()
redis.call('HSET', job, 'created_at', now, 'fence', 0, 'strikes', 0)
set_fields(4)
enter(ARGV[1], nil, 'accepted', now)
redis.call('ZADD', open_jobs, now + ARGV[2], ARGV[1])
redis.call('ZADD', all_jobs, now, ARGV[1])
if KEYS[6] then
  redis.call('ZADD', KEYS[6], now, ARGV[1])
  -- As long as the longest of its jobs may be known.
  if redis.call('PTTL', KEYS[6]) < tonumber(ARGV[3]) then redis.call('PEXPIRE', KEYS[6], ARGV[3]) end
end
return 1

-- Keeps a lease. ARGV: id, fence, lease ms. Returns 1, or 0 when the lease is somebody else's or the job has ended.
if not holds(ARGV[2]) then return 0 end
local lease_until = now_ms() + ARGV[3]
redis.call('HSET', job, 'lease_until', lease_until)
redis.call('ZADD', open_jobs, lease_until, ARGV[1])
return 1

-- Keeps a slot for a task that is still under way. KEYS: 1 slots. ARGV: holder, slot ms.
-- Returns how many slots are taken. A slot that has freed itself meanwhile is taken again: the task runs, slot or not.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[2]) then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return redis.call('ZCARD', KEYS[1])

-- Ends the pause of a job that waits for a provider's task. KEYS: 1 job hash. ARGV: ms within which a job is woken once.
-- Returns 1 if it is to be nudged now, else 0: it is unknown, elsewhere, being worked on, or was woken just before.
if redis.call('HGET', KEYS[1], 'state') ~= 'awaiting' then return 0 end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local woken = tonumber(redis.call('HGET', KEYS[1], 'woken_at') or '0')
if now - woken < tonumber(ARGV[1]) then return 0 end
if redis.call('HEXISTS', KEYS[1], 'lease_until') == 1 then return 0 end
redis.call('HSET', KEYS[1], 'woken_at', now, 'wake_at', now)
return 1

-- Open jobs nobody has moved on in time. KEYS: open jobs. ARGV: most, ms until the next look.
-- Each is put off by that time in the same step, so that two sweepers never nudge one job at once.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local ids = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[1])
for _, id in ipairs(ids) do redis.call('ZADD', KEYS[1], now + ARGV[2], id) end
return ids

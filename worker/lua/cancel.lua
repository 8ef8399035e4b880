-- Takes a job away from whoever holds it and settles it as cancelled. ARGV: id, lease ms.
-- Returns {'unknown'} | {'ended'} | {'damaged', field, value, ...} | {'claimed', now, field, value, ...}: the caller holds it and finishes it.
local state = redis.call('HGET', job, 'state')
if not state then return {'unknown'} end
if ENDED[state] then return {'ended'} end
if not intact() then return damaged() end
local now = now_ms()
redis.call('HINCRBY', job, 'fence', 1)
redis.call('HSET', job, 'outcome', 'cancelled', 'reason', 'cancelled', 'lease_until', now + ARGV[2])
redis.call('HDEL', job, 'error_code', 'error_message', 'error_facts', 'wake_at')
if state ~= 'settled' then enter(ARGV[1], state, 'settled', now) end
redis.call('ZADD', open_jobs, now + ARGV[2], ARGV[1])
local fields = redis.call('HGETALL', job)
table.insert(fields, 1, now)
table.insert(fields, 1, 'claimed')
return fields

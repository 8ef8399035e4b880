-- Takes the lease of a job. ARGV: id, lease ms, most strikes.
-- Returns {'unknown'} | {'ended'} | {'damaged', field, value, ...} | {'taken'} | {'waiting'} | {'claimed', now, field, value, ...}.
-- A strike is a lease that ran out instead of being given back: the process that held it died or hung. A job with too
-- many of them is what kills its workers, so it goes straight to its end.
local now = now_ms()
local state = redis.call('HGET', job, 'state')
if not state then return {'unknown'} end
if ENDED[state] then return {'ended'} end
if not intact() then return damaged() end
local lease_until = redis.call('HGET', job, 'lease_until')
if lease_until and tonumber(lease_until) > now then return {'taken'} end
local wake = tonumber(redis.call('HGET', job, 'wake_at') or '0')
if wake > now + 250 then return {'waiting'} end
if lease_until and redis.call('HINCRBY', job, 'strikes', 1) >= tonumber(ARGV[3]) and state ~= 'settled' then
  redis.call('HSET', job, 'outcome', 'failed', 'reason', 'failed', 'error_code', 'gave-up', 'error_message',
    'The job was given up: ' .. ARGV[3] .. ' workers in a row stopped while working on it.')
  enter(ARGV[1], state, 'settled', now)
elseif state == 'accepted' then
  enter(ARGV[1], state, 'preparing', now)
end
redis.call('HINCRBY', job, 'fence', 1)
redis.call('HSET', job, 'lease_until', now + ARGV[2])
redis.call('HDEL', job, 'wake_at')
redis.call('ZADD', open_jobs, now + ARGV[2], ARGV[1])
local fields = redis.call('HGETALL', job)
table.insert(fields, 1, now)
table.insert(fields, 1, 'claimed')
return fields

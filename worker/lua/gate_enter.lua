-- Asks whether a holder may call a provider's account now, and takes a slot if so.
-- KEYS: 1 state (hash), 2 slots (zset, score = when a slot frees itself), 3 waiting (zset, score = when last seen), 4 all accounts (set).
-- ARGV: holder, account, most at once (0 = any), most a minute (0 = any), slot ms, ms a waiting one is counted for.
-- Returns {'open'} | {'stopped', reason, ms} | {'held', '', ms} | {'full', '', waiting} | {'paced', '', ms}.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local state, slots, waiting = KEYS[1], KEYS[2], KEYS[3]
local function number(field) return tonumber(redis.call('HGET', state, field) or '0') end

redis.call('SADD', KEYS[4], ARGV[2])
local reason = redis.call('HGET', state, 'reason')
if reason then
  if number('until') > now then return {'stopped', reason, number('until') - now} end
  -- The time is over: one may try, and the others wait for what it finds.
  local probe = redis.call('HGET', state, 'probe')
  if probe and probe ~= ARGV[1] and number('probe_until') > now then
    return {'stopped', reason, number('probe_until') - now}
  end
end
if number('held_until') > now then return {'held', '', number('held_until') - now} end

redis.call('ZREMRANGEBYSCORE', slots, '-inf', now)
local most = tonumber(ARGV[3])
if most > 0 and not redis.call('ZSCORE', slots, ARGV[1]) and redis.call('ZCARD', slots) >= most then
  redis.call('ZREMRANGEBYSCORE', waiting, '-inf', now - ARGV[6])
  redis.call('ZADD', waiting, now, ARGV[1])
  redis.call('PEXPIRE', waiting, ARGV[6])
  return {'full', '', redis.call('ZCARD', waiting)}
end

local minute = tonumber(ARGV[4])
if minute > 0 then
  -- One call each interval, with a tenth of a minute's calls at once.
  local interval = 60000 / minute
  local burst = math.max(interval, 6000)
  local next_at = math.max(number('next_at'), now)
  if next_at - now > burst - interval then return {'paced', '', math.ceil(next_at - now - burst + interval)} end
  redis.call('HSET', state, 'next_at', math.ceil(next_at + interval))
end

if reason then redis.call('HSET', state, 'probe', ARGV[1], 'probe_until', now + ARGV[5]) end
redis.call('ZADD', slots, now + ARGV[5], ARGV[1])
if redis.call('PTTL', slots) < tonumber(ARGV[5]) then redis.call('PEXPIRE', slots, ARGV[5]) end
redis.call('ZREM', waiting, ARGV[1])
return {'open', '', 0}

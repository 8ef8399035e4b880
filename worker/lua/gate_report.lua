-- Takes in how a call to a provider's account went. KEYS: 1 state (hash), 2 all accounts (set).
-- ARGV: 'well' | 'held' | 'stopped' | 'fault', reason, ms, faults in a row that stop, longest ms, account, who may
-- have caused a fault or ''. Of one such person's in a row only the first counts.
-- Returns 1 if the account is stopped by this, else 0.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local state, what, reason, span = KEYS[1], ARGV[1], ARGV[2], tonumber(ARGV[3])

redis.call('SADD', KEYS[2], ARGV[6])
if what == 'well' then
  redis.call('HDEL', state, 'reason', 'until', 'since', 'faults', 'blamed', 'stops', 'probe', 'probe_until')
  return 0
end
if what == 'held' then
  local held = tonumber(redis.call('HGET', state, 'held_until') or '0')
  redis.call('HSET', state, 'held_until', math.max(held, now + span))
  return 0
end
if what == 'fault' then
  local faults, blamed = tonumber(redis.call('HGET', state, 'faults') or '0'), redis.call('HGET', state, 'blamed') or ' '
  -- Whom it is about stays until the account is well: a digest so short that it fits many people.
  local mark = ARGV[7] ~= '' and string.sub(redis.sha1hex(ARGV[7]), 1, 4) .. ' ' or ''
  if faults < tonumber(ARGV[4]) and (mark == '' or not string.find(blamed, ' ' .. mark, 1, true)) then
    faults = redis.call('HINCRBY', state, 'faults', 1)
    redis.call('HSET', state, 'blamed', blamed .. mark)
  end
  if faults < tonumber(ARGV[4]) then return 0 end
end
-- Each stop that did not help is followed by one twice as long.
local stops = redis.call('HINCRBY', state, 'stops', 1)
span = math.min(span * 2 ^ math.min(stops - 1, 20), tonumber(ARGV[5]))
redis.call('HSET', state, 'reason', reason, 'until', now + span)
redis.call('HSETNX', state, 'since', now)
redis.call('HDEL', state, 'probe', 'probe_until')
return 1

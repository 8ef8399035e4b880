-- Destroy the keys of several objects in one step with the tombstones, events and counts that say so.
-- KEYS doomed, outbox, counts, then per object row, tombstone, live:<class>
-- ARGV reason, life of a tombstone (ms), epoch or '', then per object oid, class, blob
-- With an epoch, only rows still wrapped under it are destroyed.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local answers = {}
local function bury(i, at, reason, epoch)
  local oid, class, blob = ARGV[3 * i + 1], ARGV[3 * i + 2], ARGV[3 * i + 3]
  local row, tombstone, live = KEYS[3 * i + 1], KEYS[3 * i + 2], KEYS[3 * i + 3]
  local moment = string.format('%.0f', at)
  redis.call('DEL', row)
  redis.call('HSET', tombstone, 'at', moment, 'reason', reason, 'class', class, 'blob', blob)
  redis.call('PEXPIRE', tombstone, ARGV[2])
  redis.call('ZREM', live, blob)
  redis.call('ZADD', KEYS[1], moment, blob)
  redis.call('XADD', KEYS[2], '*', 'v', '1', 'type', 'destroyed', 'oid', oid, 'class', class, 'reason', reason,
    'at', moment, 'epoch', epoch)
  redis.call('HINCRBY', KEYS[3], 'destroyed:' .. class .. ':' .. reason, 1)
  return moment
end
for i = 1, (#KEYS - 3) / 3 do
  local row, tombstone, live = KEYS[3 * i + 1], KEYS[3 * i + 2], KEYS[3 * i + 3]
  local stone = redis.call('HMGET', tombstone, 'at', 'reason')
  local epoch = redis.call('HGET', row, 'epoch')
  local deadline = redis.call('ZSCORE', live, ARGV[3 * i + 3])
  if stone[1] then
    -- A row beside its tombstone was brought back by something else than this store; it goes, and nothing is new.
    redis.call('DEL', row)
    redis.call('ZREM', live, ARGV[3 * i + 3])
    answers[i] = {'already', stone[1], stone[2]}
  elseif epoch then
    if ARGV[3] ~= '' and ARGV[3] ~= epoch then
      answers[i] = {'kept'}
    else
      answers[i] = {'shredded', bury(i, now, ARGV[1], epoch), ARGV[1]}
    end
  elseif deadline then
    -- The server let the row go at its deadline; that is when the object was shredded, and why.
    answers[i] = {'already', bury(i, math.min(tonumber(deadline), now), 'expired', ''), 'expired'}
  else
    answers[i] = {'unknown'}
  end
end
return answers

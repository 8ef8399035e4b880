-- Make one key row, with its deadline, its place in the index and its event.
-- KEYS row, tombstone, live:<class>, outbox, counts, root:<class>
-- ARGV class, oid, blob, epoch, fingerprint of the root, wrapped key, deadline (ms), ceiling (ms)
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local existing = redis.call('HGET', KEYS[1], 'wrapped')
if existing then
  -- The same call repeated because its answer was lost; anything else would replace a key.
  if existing == ARGV[6] then return 'created' end
  return 'taken'
end
if redis.call('EXISTS', KEYS[2]) == 1 then return 'taken' end
if redis.call('HGET', KEYS[6], 'fingerprint') ~= ARGV[5] then return 'stale' end
if tonumber(ARGV[7]) <= now then return 'past' end
redis.call('HSET', KEYS[1], 'class', ARGV[1], 'epoch', ARGV[4], 'wrapped', ARGV[6], 'blob', ARGV[3], 'ceiling', ARGV[8])
redis.call('PEXPIREAT', KEYS[1], ARGV[7])
redis.call('ZADD', KEYS[3], ARGV[7], ARGV[3])
redis.call('XADD', KEYS[4], '*', 'v', '1', 'type', 'created', 'oid', ARGV[2], 'class', ARGV[1], 'epoch', ARGV[4],
  'at', string.format('%.0f', now), 'deadline', ARGV[7], 'ceiling', ARGV[8])
redis.call('HINCRBY', KEYS[5], 'created:' .. ARGV[1], 1)
return 'created'

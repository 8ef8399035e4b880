-- Record the objects of one class whose rows the server has let go at their deadline. At most ARGV[3] per call.
-- KEYS live:<class>, doomed, outbox, counts
-- ARGV class, life of a tombstone (ms), limit, prefix of rows, prefix of tombstones
-- Rows and tombstones are found from the index, so their names cannot be given as KEYS: one server, or one hash tag.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now), 'WITHSCORES', 'LIMIT', 0, ARGV[3])
local recorded = 0
for i = 1, #due, 2 do
  local blob, deadline = due[i], due[i + 1]
  local oid = string.sub(blob, -32)
  local alive = redis.call('PEXPIRETIME', ARGV[4] .. oid)
  if alive > now then
    -- The index and the row disagree, which a restored part of a data set can do: the row is the truth.
    redis.call('ZADD', KEYS[1], alive, blob)
  elseif alive == -1 then
    -- A row without a deadline is against the rules; give it back the one in the index, which is over.
    redis.call('PEXPIREAT', ARGV[4] .. oid, deadline)
  else
    local tombstone = ARGV[5] .. oid
    redis.call('ZREM', KEYS[1], blob)
    redis.call('ZADD', KEYS[2], deadline, blob)
    if redis.call('EXISTS', tombstone) == 0 then
      redis.call('HSET', tombstone, 'at', deadline, 'reason', 'expired', 'class', ARGV[1], 'blob', blob)
      redis.call('PEXPIRE', tombstone, ARGV[2])
      redis.call('XADD', KEYS[3], '*', 'v', '1', 'type', 'destroyed', 'oid', oid, 'class', ARGV[1],
        'reason', 'expired', 'at', deadline, 'epoch', '')
      redis.call('HINCRBY', KEYS[4], 'destroyed:' .. ARGV[1] .. ':expired', 1)
    end
    recorded = recorded + 1
  end
end
return {recorded, #due / 2}

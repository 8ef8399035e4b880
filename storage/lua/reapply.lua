-- Apply the events of one receipt file that this key store has forgotten, since it was restored from a backup.
-- An event that still waits in the outbox is part of the restored state; it is filed already, so it only goes.
-- KEYS cut, outbox, doomed, counts, then per event row, tombstone, live:<class>
-- ARGV first and last event of the file, life of a tombstone (ms), then per event id, type, class, oid, blob or '',
-- reason, at (ms), '1' if its end is filed as well
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
local outbox, doomed, counts = KEYS[2], KEYS[3], KEYS[4]
local shredded, lost = 0, 0
-- What is told from now on comes behind what is filed, whatever the clock says.
if type(redis.pcall('XADD', outbox, ARGV[2], 'v', '1')) == 'string' then redis.call('XDEL', outbox, ARGV[2]) end
for i = 0, (#KEYS - 4) / 3 - 1 do
  local row, tombstone, live = KEYS[3 * i + 5], KEYS[3 * i + 6], KEYS[3 * i + 7]
  local id, kind, class, oid = ARGV[8 * i + 4], ARGV[8 * i + 5], ARGV[8 * i + 6], ARGV[8 * i + 7]
  local blob, reason, at, ended = ARGV[8 * i + 8], ARGV[8 * i + 9], ARGV[8 * i + 10], ARGV[8 * i + 11]
  local function bury(moment, why)
    redis.call('DEL', row)
    redis.call('HSET', tombstone, 'at', moment, 'reason', why, 'class', class, 'blob', blob)
    redis.call('PEXPIRE', tombstone, ARGV[3])
    if blob ~= '' then
      redis.call('ZREM', live, blob)
      redis.call('ZADD', doomed, moment, blob)
    end
    redis.call('HINCRBY', counts, 'destroyed:' .. class .. ':' .. why, 1)
  end
  if redis.call('XDEL', outbox, id) == 0 and redis.call('EXISTS', tombstone) == 0 then
    if kind == 'destroyed' then
      local known = redis.call('HGET', row, 'blob')
      if known then
        blob = known
        shredded = shredded + 1
      end
      bury(at, reason)
    elseif kind == 'created' and redis.call('EXISTS', row) == 0 then
      redis.call('HINCRBY', counts, 'created:' .. class, 1)
      if ended ~= '1' then
        -- Its key came after the backup and went with what the backup replaced.
        bury(now, 'lost')
        redis.call('XADD', outbox, '*', 'v', '1', 'type', 'destroyed', 'oid', oid, 'class', class, 'reason', 'lost',
          'at', now, 'epoch', '')
        lost = lost + 1
      end
    end
  end
end
redis.call('HSET', KEYS[1], 'filed-first', ARGV[1], 'filed-last', ARGV[2])
return {shredded, lost}

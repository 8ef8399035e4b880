-- Answer what is known of one object: live, shredded or unknown.
-- KEYS row, tombstone, then live:<class> if the blob is known      ARGV blob
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
-- A tombstone wins over a row: whatever brought the row back, the object was shredded.
local tombstone = redis.call('HMGET', KEYS[2], 'at', 'reason')
if tombstone[1] then return {'shredded', tombstone[1], tombstone[2]} end
local row = redis.call('HMGET', KEYS[1], 'class', 'epoch', 'wrapped', 'blob', 'ceiling')
if row[1] then
  return {'live', row[1], row[2], row[3], row[4], row[5], string.format('%.0f', redis.call('PEXPIRETIME', KEYS[1]))}
end
if KEYS[3] then
  -- The server let the row go at its deadline and no sweep has recorded it yet.
  local deadline = redis.call('ZSCORE', KEYS[3], ARGV[1])
  if deadline then return {'shredded', string.format('%.0f', math.min(tonumber(deadline), now)), 'expired'} end
end
return {'unknown'}

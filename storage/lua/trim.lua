-- Let go of the events that a receipt file now holds, and remember that file. KEYS cut, outbox      ARGV first, last
local cut = redis.call('HMGET', KEYS[1], 'first', 'last')
if cut[1] ~= ARGV[1] or cut[2] ~= ARGV[2] then return 0 end
for _, event in ipairs(redis.call('XRANGE', KEYS[2], ARGV[1], ARGV[2])) do
  redis.call('XDEL', KEYS[2], event[1])
end
redis.call('HDEL', KEYS[1], 'first', 'last')
-- Files newer than this one tell that the key store was taken back to an older state.
redis.call('HSET', KEYS[1], 'filed-first', ARGV[1], 'filed-last', ARGV[2])
return 1

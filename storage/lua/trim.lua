-- Let go of the events that a receipt file now holds. KEYS cut, outbox      ARGV first, last
local cut = redis.call('HMGET', KEYS[1], 'first', 'last')
if cut[1] ~= ARGV[1] or cut[2] ~= ARGV[2] then return 0 end
for _, event in ipairs(redis.call('XRANGE', KEYS[2], ARGV[1], ARGV[2])) do
  redis.call('XDEL', KEYS[2], event[1])
end
redis.call('DEL', KEYS[1])
return 1

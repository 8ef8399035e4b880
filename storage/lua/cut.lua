-- Fix which events the next receipt file holds, before it is written: the same answer until `trim` is called.
-- KEYS cut, outbox      ARGV most events per file
local cut = redis.call('HMGET', KEYS[1], 'first', 'last')
if cut[1] then return cut end
local events = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', ARGV[1])
if #events == 0 then return {} end
local first, last = events[1][1], events[#events][1]
redis.call('HSET', KEYS[1], 'first', first, 'last', last)
return {first, last}

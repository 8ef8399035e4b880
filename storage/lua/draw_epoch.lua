-- Draw an epoch number that no root of this class has had, above the floor the root store reports.
-- KEYS root:<class>      ARGV floor
local drawn = tonumber(redis.call('HGET', KEYS[1], 'drawn') or '0')
local current = tonumber(redis.call('HGET', KEYS[1], 'epoch') or '0')
local epoch = math.max(drawn, current, tonumber(ARGV[1])) + 1
-- Remembered until it is published or destroyed: a crash in between leaves a root that is nobody's but this store's.
local number = string.format('%.0f', epoch)
redis.call('HSET', KEYS[1], 'drawn', number, 'drawn:' .. number, '')
return epoch

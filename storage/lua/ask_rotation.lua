-- Ask whoever rotates to replace the current root at once; answer its epoch. KEYS root:<class>
local epoch = redis.call('HGET', KEYS[1], 'epoch')
-- Never makes a record: what has no root has nothing to rotate.
if not epoch then return false end
redis.call('HSET', KEYS[1], 'asked', epoch)
return epoch

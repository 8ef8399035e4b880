-- Ask whoever rotates to replace the current root at once; answer its epoch. KEYS root:<class>, asked:<class>
-- Not a field of the root's record: who may ask must not be able to change a public half.
local epoch = redis.call('HGET', KEYS[1], 'epoch')
-- Never makes a record: what has no root has nothing to rotate.
if not epoch then return false end
redis.call('SET', KEYS[2], epoch)
return epoch

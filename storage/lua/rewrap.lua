-- Put newly wrapped keys in their rows: only rows that still exist, under the epoch they were read with.
-- A plain HSET keeps the row's deadline. KEYS row per object
-- ARGV new epoch, fingerprint of the new root, root:<class> is the last KEYS; then per object old epoch, wrapped key
local rewrapped = 0
-- A slower rotation must not bring rows back under a root that a faster one has already replaced.
if redis.call('HGET', KEYS[#KEYS], 'fingerprint') ~= ARGV[2] then return -1 end
for i = 1, #KEYS - 1 do
  if redis.call('HGET', KEYS[i], 'epoch') == ARGV[2 * i + 1] then
    redis.call('HSET', KEYS[i], 'epoch', ARGV[1], 'wrapped', ARGV[2 * i + 2])
    rewrapped = rewrapped + 1
  end
end
return rewrapped

-- Gives a lease back. ARGV: id, fence, ms until the job should go on, ms of grace before the sweeper steps in,
-- strikes to add (0 for an orderly wait, which clears them, -1 to leave them), most strikes. Returns 1, 2 when the strikes are used up and the job went to its end, 0 when not held.
if not holds(ARGV[2]) then return 0 end
local now = now_ms()
local answer = 1
local wake = now + ARGV[3]
if tonumber(ARGV[5]) > 0 then
  if redis.call('HINCRBY', job, 'strikes', ARGV[5]) >= tonumber(ARGV[6]) then
    local state = redis.call('HGET', job, 'state')
    if state ~= 'settled' then
      set_fields(7)
      enter(ARGV[1], state, 'settled', now)
      -- What is left to do is to destroy the keys: that does not wait.
      wake = now
      answer = 2
    end
  end
elseif tonumber(ARGV[5]) == 0 then
  redis.call('HSET', job, 'strikes', 0)
  -- What put the job off is counted in strikes.
  redis.call('HDEL', job, 'put_off_by')
end
redis.call('HDEL', job, 'lease_until')
redis.call('HSET', job, 'wake_at', wake)
redis.call('ZADD', open_jobs, wake + ARGV[4], ARGV[1])
return answer

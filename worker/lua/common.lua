-- Shared by every job script: the keys, the server's clock, and the one way to change a state.
-- KEYS: 1 job hash, 2 open jobs (zset, score = when the sweeper should look), 3 all jobs (zset by creation), 4 state counts (hash).
local job, open_jobs, all_jobs, counts = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local ENDED = {done = true, failed = true, cancelled = true, expired = true}

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- Moves the job to `state`, stamps the time it got there, and wakes whoever watches it.
local function enter(id, from, state, now)
  redis.call('HSET', job, 'state', state, 'at:' .. state, now)
  if from then redis.call('HINCRBY', counts, from, -1) end
  redis.call('HINCRBY', counts, state, 1)
  redis.call('PUBLISH', job, state)
end

-- The holder of a lease proves itself with the fencing token it was given; a zombie's is too old.
local function holds(fence)
  return redis.call('HGET', job, 'fence') == fence and redis.call('HEXISTS', job, 'lease_until') == 1
end

local function set_fields(first)
  for i = first, #ARGV, 2 do redis.call('HSET', job, ARGV[i], ARGV[i + 1]) end
end

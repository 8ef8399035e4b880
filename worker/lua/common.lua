-- Shared by every job script: the keys, the server's clock, and the one way to change a state.
-- KEYS: 1 job hash, 2 open jobs (zset, score = when the sweeper should look), 3 all jobs (zset by creation), 4 state counts (hash),
-- 5 ended jobs of which a provider still keeps a copy (zset, score = when to ask it to erase).
local job, open_jobs, all_jobs, counts = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local ENDED = {done = true, failed = true, cancelled = true, expired = true}
local OPEN = {accepted = true, preparing = true, submitting = true, awaiting = true, collecting = true,
  rendering = true, settled = true}

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- Whether the fields that scripts count with are numbers. If not, something else has written to the record.
local function intact()
  for i, value in ipairs(redis.call('HMGET', job, 'fence', 'strikes', 'lease_until', 'wake_at')) do
    -- 2^53: beyond it a number is not exact, and beyond 2^63 it cannot be counted on.
    local number = value and tonumber(value)
    if i <= 2 and not value or value and (not number or number < 0 or number > 9007199254740992) then return false end
  end
  return true
end

local function damaged()
  local fields = redis.call('HGETALL', job)
  table.insert(fields, 1, 'damaged')
  return fields
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

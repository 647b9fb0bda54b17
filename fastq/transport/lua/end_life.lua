-- End a life whose lease is over: from here on its turns are refused, and what it held waits in its grave.
--
-- KEYS[1] fastq.lives, [2] fastq.graves, [3] fastq.life.<life>, [4] fastq.held.<life>, then its inboxes
-- ARGV[1] life, [2] for how long its inboxes stay closed (ms): longer than a blocking wait of it may last, [3] when
--     the server was started (ms): who was last heard before that has a lease's time from then on, [4] lanes of a queue
-- Returns 1 when it was ended now, 0 when it renewed its lease meanwhile, or somebody else has ended it.
--
-- The inboxes become text: a blocking wait that the dead worker left behind would fill a list, for nobody; so it fails.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local ends = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not ends or tonumber(ends) >= now then
  return 0
end
local lease, started = tonumber(redis.call('HGET', KEYS[3], 'lease') or 0), tonumber(ARGV[3])
if ends - lease < started and now < started + lease then
  return 0
end
redis.call('ZREM', KEYS[1], '')
redis.call('ZADD', KEYS[2], now, ARGV[1])
for i = 5, #KEYS do
  local lane, number = (i - 5) * ARGV[4], 0
  if redis.call('TYPE', KEYS[i]).ok == 'list' then
    for _, envelope in ipairs(redis.call('LRANGE', KEYS[i], 0, -1)) do
      -- Behind every number that the worker itself may have given.
      number = number + 1
      redis.call('HSET', KEYS[4], lane * 2 ^ 40 + 2 ^ 39 + number, envelope)
    end
  end
  redis.call('SET', KEYS[i], 'closed', 'PX', ARGV[2])
end
redis.call('ZREM', KEYS[1], ARGV[1])
return 1

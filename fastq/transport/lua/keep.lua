-- Renew the lease of a life, and find those whose lease is over.
--
-- KEYS[1] fastq.lives, [2] fastq.graves, then fastq.mover.<queue> of each of its queues
-- ARGV[1] life, [2] lease (ms), [3] 1 to look for others
-- Returns {now (ms), when the next lease of another is over (ms) or -1, 1 when our own lease was over, up to 100 lives
--     that are over, up to 100 whose messages are still to be put back}.
-- Error: LEASELOST this life is over.
--
-- Whoever was late itself judges nobody: perhaps the whole machine was stopped, or the network between.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local ends = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not ends then
  return redis.error_reply('LEASELOST the lease of this life is over')
end
redis.call('ZREM', KEYS[1], '') -- lets the next write pass where memory is full; see turn.lua
redis.call('ZADD', KEYS[1], 'XX', now + tonumber(ARGV[2]), ARGV[1])
for i = 3, #KEYS do
  redis.call('SET', KEYS[i], 'a worker moves what falls due', 'PX', ARGV[2])
end
local late = tonumber(ends) < now and 1 or 0
local over, graves = {}, {}
if ARGV[3] == '1' and late == 0 then
  over = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', '(' .. now, 'LIMIT', 0, 100)
  graves = redis.call('ZRANGE', KEYS[2], 0, 99)
end
local due = -1
local soonest = redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. now, '+inf', 'WITHSCORES', 'LIMIT', 0, 2)
for i = 1, #soonest, 2 do
  if due < 0 and soonest[i] ~= ARGV[1] then
    due = tonumber(soonest[i + 1])
  end
end
return {now, due, late, over, graves}

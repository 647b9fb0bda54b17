-- A worker serves other queues than before: its lanes, old and new, are known, and it moves what falls due there only.
--
-- KEYS[1] fastq.lives, [2] fastq.life.<life>, then fastq.mover.<queue> of each queue that is served, then of those that
--     are not any more
-- ARGV[1] life, [2] how many queues are served, [3] how many there are, then the keys of all lanes, in order
-- Returns 1. Error: LEASELOST this life is over.

if not redis.call('ZSCORE', KEYS[1], ARGV[1]) then
  return redis.error_reply('LEASELOST the lease of this life is over')
end
redis.call('ZREM', KEYS[1], '') -- lets the next write pass where memory is full; see turn.lua
local known = {'queues', ARGV[3]}
for i = 4, #ARGV do
  known[#known + 1] = 'l' .. i - 4
  known[#known + 1] = ARGV[i]
end
redis.call('HSET', KEYS[2], unpack(known))
local lease = redis.call('HGET', KEYS[2], 'lease')
for i = 3, #KEYS do
  if i < 3 + ARGV[2] then
    redis.call('SET', KEYS[i], 'a worker moves what falls due', 'PX', lease)
  else
    redis.call('DEL', KEYS[i]) -- others who serve the queue say so again when they renew their leases
  end
end
return 1

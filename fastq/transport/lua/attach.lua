-- A worker begins: its life gets a lease.
--
-- KEYS[1] fastq.lives, [2] fastq.life.<life>, [3] fastq.queues, then fastq.mover.<queue> of each queue
-- ARGV[1] life, [2] lease (ms), [3] how many queues, then their names, then the keys of its lanes, in order
-- Returns now (ms, of the server's clock, which is the one that counts).

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local queues = tonumber(ARGV[3])
local known = {'turn', 0, 'lease', ARGV[2], 'queues', queues}
for i = 4 + queues, #ARGV do
  known[#known + 1] = 'l' .. i - 4 - queues
  known[#known + 1] = ARGV[i]
end
redis.call('HSET', KEYS[2], unpack(known))
redis.call('SADD', KEYS[3], unpack(ARGV, 4, 3 + queues))
redis.call('ZADD', KEYS[1], now + tonumber(ARGV[2]), ARGV[1])
for i = 4, #KEYS do
  redis.call('SET', KEYS[i], 'a worker moves what falls due', 'PX', ARGV[2])
end
return now

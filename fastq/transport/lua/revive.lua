-- Put messages of a life that ended back in line, each as its new envelope: only those that nobody put back before.
--
-- KEYS[1] fastq.graves, [2] fastq.life.<life>, [3] fastq.held.<life>, then the lists that are pushed to
-- ARGV[1] life, then of each message, the last first: tag, which key, envelope, where: "R" next in line, "L" at the end
-- Returns {how many were put back, how many are left}. The grave of a life that holds nothing any more is removed.

local count = 0
for i = 2, #ARGV, 4 do
  if redis.call('HEXISTS', KEYS[3], ARGV[i]) == 1 then
    redis.call('HDEL', KEYS[3], '')
    redis.call(ARGV[i + 3] .. 'PUSH', KEYS[tonumber(ARGV[i + 1])], ARGV[i + 2])
    redis.call('HDEL', KEYS[3], ARGV[i])
    count = count + 1
  end
end
local left = redis.call('HLEN', KEYS[3])
if left == 0 then
  redis.call('DEL', KEYS[2])
  redis.call('ZREM', KEYS[1], ARGV[1])
end
return {count, left}

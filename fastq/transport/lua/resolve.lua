-- Put dead letters back in their queues, or drop them: only those that are still there.
--
-- KEYS[1] fastq.dead.<queue>, then the lists that are pushed to
-- ARGV  of each letter: the member, which key (0: drop it), envelope
-- Returns how many.

local count = 0
for i = 1, #ARGV, 3 do
  if redis.call('ZSCORE', KEYS[1], ARGV[i]) then
    if ARGV[i + 1] ~= '0' then
      redis.call('LPUSH', KEYS[tonumber(ARGV[i + 1])], ARGV[i + 2])
    end
    redis.call('ZREM', KEYS[1], ARGV[i])
    count = count + 1
  end
end
return count

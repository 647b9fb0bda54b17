-- Store messages that are not due yet and say so themselves: in the set of future messages where a worker moves what
-- falls due, else in their list, as Celery's workers want it, which wait for an ETA themselves.
--
-- KEYS[1] fastq.mover.<queue>, [2] fastq.future.<queue>, [3] the list
-- ARGV  of each message: when it is due (ms), envelope
-- Returns 1 when they are in the set, 0 when they are in the list.

local is_moved = redis.call('EXISTS', KEYS[1])
for i = 1, #ARGV, 2 do
  if is_moved == 1 then
    redis.call('ZADD', KEYS[2], ARGV[i], KEYS[3] .. '\n' .. ARGV[i + 1])
  else
    redis.call('LPUSH', KEYS[3], ARGV[i + 1])
  end
end
return is_moved

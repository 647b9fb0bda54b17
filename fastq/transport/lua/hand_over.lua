-- Put what only fastq's workers read where Celery's read: messages for later, and those that are to be run alone.
--
-- KEYS[1] fastq.mover.<queue>, [2] fastq.future.<queue>, [3] fastq.trial.<queue>, [4] the list of the queue
-- ARGV[1] how many of each at most
-- Returns {how many for later, how many to be run alone}.
-- Error: SERVED a worker serves the queue, and would take them back.

if redis.call('EXISTS', KEYS[1]) == 1 then
  return redis.error_reply('SERVED a worker moves what falls due')
end
redis.call('ZREM', KEYS[2], '') -- lets the next write pass where memory is full; see turn.lua
local members = redis.call('ZRANGE', KEYS[2], 0, ARGV[1] - 1)
for _, member in ipairs(members) do
  local cut = member:find('\n', 1, true)
  redis.call('LPUSH', member:sub(1, cut - 1), member:sub(cut + 1))
  redis.call('ZREM', KEYS[2], member)
end
local alone = 0
while alone < tonumber(ARGV[1]) and redis.call('LMOVE', KEYS[3], KEYS[4], 'RIGHT', 'RIGHT') do
  alone = alone + 1
end
return {#members, alone}

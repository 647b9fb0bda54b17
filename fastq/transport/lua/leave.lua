-- A worker leaves: all that it holds is next in line again, as it was.
--
-- KEYS[1] fastq.lives, [2] fastq.life.<life>, [3] fastq.held.<life>, then its inboxes, then the lists of its lanes, in
--     order
-- ARGV[1] life, [2] for how long its inboxes stay closed (ms), [3] how many inboxes, [4] lanes of a queue
-- Returns how many messages went back; -1 when this life is over already.

if not redis.call('ZSCORE', KEYS[1], ARGV[1]) then
  return -1
end
local LANE, inboxes, width, back = 2 ^ 40, tonumber(ARGV[3]), tonumber(ARGV[4]), 0
redis.call('HDEL', KEYS[3], '')
for i = 1, inboxes do
  -- Taken last, so they go back first: the right end of an inbox was taken last.
  local envelopes = redis.call('LRANGE', KEYS[3 + i], 0, -1)
  for at = #envelopes, 1, -1 do
    redis.call('RPUSH', KEYS[4 + inboxes + (i - 1) * width], envelopes[at])
    back = back + 1
  end
  redis.call('SET', KEYS[3 + i], 'closed', 'PX', ARGV[2])
end
local tags = redis.call('HKEYS', KEYS[3])
for i, tag in ipairs(tags) do
  tags[i] = tonumber(tag)
end
table.sort(tags, function(a, b) return a > b end)
for _, tag in ipairs(tags) do
  redis.call('RPUSH', KEYS[3 + inboxes + math.floor(tag / LANE) + 1], (redis.call('HGET', KEYS[3], tag)))
  redis.call('HDEL', KEYS[3], tag)
  back = back + 1
end
redis.call('DEL', KEYS[2])
redis.call('ZREM', KEYS[1], ARGV[1])
return back

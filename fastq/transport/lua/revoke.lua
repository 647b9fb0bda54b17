-- Note what is revoked, in a set that is kept until the last of it has expired.
--
-- KEYS[1] fastq.revoked
-- ARGV[1] now (s), then until when (s) and member, of each
-- Returns how many are in the set.

local PIECE = 1000
for from = 2, #ARGV, PIECE do
  redis.call('ZADD', KEYS[1], unpack(ARGV, from, math.min(#ARGV, from + PIECE - 1)))
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[1])
local last = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')
if last[2] then
  redis.call('EXPIREAT', KEYS[1], math.ceil(last[2]) + 1)
end
return redis.call('ZCARD', KEYS[1])

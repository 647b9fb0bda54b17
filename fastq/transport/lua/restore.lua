-- Put back what a Celery worker held for too long; only what nobody has acknowledged or put back meanwhile.
--
-- KEYS[1] unacked, [2] unacked_index, then the lists that are pushed to
-- ARGV  of each message, the last first: delivery tag, what unacked says of it, which key, envelope
-- Returns how many were put back.
--
-- No lock is taken: this is one step, and kombu watches the hash while it does the same.

local count = 0
for i = 1, #ARGV, 4 do
  if redis.call('HGET', KEYS[1], ARGV[i]) == ARGV[i + 1] then
    redis.call('HDEL', KEYS[1], '')
    redis.call('RPUSH', KEYS[tonumber(ARGV[i + 2])], ARGV[i + 3])
    redis.call('HDEL', KEYS[1], ARGV[i])
    redis.call('ZREM', KEYS[2], ARGV[i])
    count = count + 1
  end
end
return count

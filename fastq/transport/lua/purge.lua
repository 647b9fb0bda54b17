-- Drop messages of a queue, a limited number of them.
--
-- KEYS  its lists, and last its future set
-- ARGV[1] how many at most
-- Returns how many were dropped; 0 when there are none left.

local left, dropped = tonumber(ARGV[1]), 0
for i, key in ipairs(KEYS) do
  if left > 0 then
    local count
    if i < #KEYS then
      count = math.min(left, redis.call('LLEN', key))
      redis.call('LTRIM', key, 0, -count - 1)
    else
      count = redis.call('ZREMRANGEBYRANK', key, 0, left - 1)
    end
    left, dropped = left - count, dropped + count
  end
end
return dropped

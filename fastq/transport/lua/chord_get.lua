-- What is known of a chord, in one step.
--
-- KEYS[1] .j members, [2] .c who completes it, or "done", [3] the saved group
-- ARGV[1] 1 when members are ordered (a sorted set; else a list)
-- Returns {claim, group, members}

local members = redis.call(ARGV[1] == '1' and 'ZRANGE' or 'LRANGE', KEYS[1], 0, -1)
return {redis.call('GET', KEYS[2]), redis.call('GET', KEYS[3]), members}

-- What is known of a chord, and whose it is to send the body, in one step.
--
-- KEYS[1] .j members, [2] .c who completes it, or "done", [3] the saved group
-- ARGV[1] 1 when members are ordered (a sorted set; else a list), [2] who takes it, or ""
-- Returns {claim, group, members}; the claim is "done" also for one that somebody else has taken
--
-- Who has taken it is a message that is in its queue until the body is on its way, so nobody else needs to complete the
-- chord any more: the claim stays as long as the members.

local claim, mark = redis.call('GET', KEYS[2]), 'taken:' .. ARGV[2]
local left_ms = redis.call('PTTL', KEYS[1])
if ARGV[2] ~= '' and claim ~= 'done' and left_ms ~= -2 then
  if claim and string.sub(claim, 1, 6) == 'taken:' then
    claim = claim == mark and claim or 'done'
  elseif left_ms > 0 then
    redis.call('SET', KEYS[2], mark, 'PX', left_ms)
  else
    redis.call('SET', KEYS[2], mark)
  end
end
local members = redis.call(ARGV[1] == '1' and 'ZRANGE' or 'LRANGE', KEYS[1], 0, -1)
return {claim, redis.call('GET', KEYS[3]), members}

-- Note that members of one chord have ended, and say whether it is complete; with Celery's keys, so that its workers
-- and ours count together.
--
-- KEYS[1] .j members, [2] .t members that were added, [3] .s size, [4] .d which have been counted, [5] .c who completes
--     it, or "done"; [6] .b the plan, which Celery does not know; [7] the saved group
-- ARGV[1] 1 when members are ordered (a sorted set; else a list), [2] seconds to keep the keys, 0 for ever,
--     [3] seconds to keep a claim, [4] the plan, or "", then for each member: task id, member, score
-- Returns {} when there is nothing to complete, else {the number of the member that completes it, from 1; the plan;
--     what has been counted, each as task id:score}
--
-- The claim is the id of the member: told again, since its worker died before the body was on its way, it has it still.

local members, added, size_key, counted, claim, plan, group =
  KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7]
local is_ordered, kept_s = ARGV[1] == '1', tonumber(ARGV[2])

local claimed_by = redis.call('GET', claim)
if claimed_by == 'done' then
  return {}
end
for at = 5, #ARGV, 3 do
  if redis.call('SADD', counted, ARGV[at] .. ':' .. ARGV[at + 2]) == 1 then
    if is_ordered then
      redis.call('ZADD', members, ARGV[at + 2], ARGV[at + 1])
    else
      redis.call('RPUSH', members, ARGV[at + 1])
    end
  end
end
if ARGV[4] ~= '' then
  redis.call('SET', plan, ARGV[4], 'NX')
end
if kept_s > 0 then
  for _, key in ipairs({members, added, size_key, counted, plan, group}) do
    redis.call('EXPIRE', key, kept_s)
  end
end
local size = tonumber(redis.call('GET', size_key))
local count = redis.call(is_ordered and 'ZCARD' or 'LLEN', members)
if not size or count < size + tonumber(redis.call('GET', added) or 0) then
  return {}
end
for at = 5, #ARGV, 3 do
  if not claimed_by or claimed_by == ARGV[at] then
    -- Of several the last: it is the one that the others waited for.
    local last = claimed_by and at or #ARGV - 2
    redis.call('SET', claim, ARGV[last], 'EX', ARGV[3])
    return {(last - 2) / 3, redis.call('GET', plan) or '', redis.call('SMEMBERS', counted)}
  end
end
return {}

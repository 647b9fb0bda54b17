-- Say of how many members a chord is.
--
-- KEYS[1] .s size, [2] .c who completes it, or "done", [3] the saved group, [4] .b the plan
-- ARGV[1] size, [2] seconds to keep the keys, 0 for ever, [3] 1 to count anew what is done, [4] the group, or "", [5]
--     the plan, or ""
-- Returns 1 when it was said, 0 when the chord is done.

local kept_s = tonumber(ARGV[2])

local function set(key, value)
  if kept_s > 0 then
    redis.call('SET', key, value, 'EX', kept_s)
  else
    redis.call('SET', key, value)
  end
end

if ARGV[3] == '1' then
  redis.call('DEL', KEYS[2])
elseif redis.call('GET', KEYS[2]) == 'done' then
  return 0
end
set(KEYS[1], ARGV[1])
if ARGV[4] ~= '' then
  set(KEYS[3], ARGV[4])
end
if ARGV[5] ~= '' then
  set(KEYS[4], ARGV[5])
end
return 1

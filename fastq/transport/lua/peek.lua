-- See whether a worker need not sleep. Only reads: with CLIENT TRACKING the server tells of the next change.
--
-- KEYS  the lists that are looked at, then the future sets
-- ARGV[1] how many of them are lists
-- Returns {now (ms), messages that are ready, when the next future one is due (ms) or -1}.

local time = redis.call('TIME')
local lists, ready, earliest = tonumber(ARGV[1]), 0, -1
for i, key in ipairs(KEYS) do
  if i <= lists then
    ready = ready + redis.call('LLEN', key)
  else
    local due = tonumber(redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')[2])
    if due and (earliest < 0 or due < earliest) then
      earliest = due
    end
  end
end
return {time[1] * 1000 + math.floor(time[2] / 1000), ready, math.ceil(earliest)}

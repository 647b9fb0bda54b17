-- Note that what completes chords is on its way for good: nobody else is to complete them, for as long as it takes.
--
-- KEYS are .c of each chord, who completes it
-- ARGV[1] seconds to keep the claim, 0 for ever, then for each key the member that has the claim
-- Returns how many claims are held; one that has run out meanwhile is taken again, one of somebody else is left alone.

local held = 0
for at, key in ipairs(KEYS) do
  local claimed_by = redis.call('GET', key)
  if not claimed_by or claimed_by == ARGV[at + 1] then
    if ARGV[1] == '0' then
      redis.call('SET', key, 'sent')
    else
      redis.call('SET', key, 'sent', 'EX', ARGV[1])
    end
    held = held + 1
  end
end
return held

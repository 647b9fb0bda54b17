-- Store results, all in one step.
--
-- KEYS[i]       the key of the result
-- ARGV[3i - 2]  for how long, in ms: see store_result in result.lua, which stands before this text
-- ARGV[3i - 1]  the document
-- ARGV[3i]      a compressed document that may be replaced, or ""
-- Returns the numbers i of those that were not stored, since a compressed document is there.

local left = {}
for i, key in ipairs(KEYS) do
  if not store_result(key, ARGV[3 * i - 2], ARGV[3 * i - 1], ARGV[3 * i]) then
    left[#left + 1] = i
  end
end
return left

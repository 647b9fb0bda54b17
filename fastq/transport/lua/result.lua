-- Storing results: shared by every script that does, which has this text before its own.
--
-- store_result(key, ttl_ms, document, replaceable) -> true: stored, or rightly ignored; false: it cannot be told here
--   whether the stored document is a SUCCESS, as it is compressed, and it is not the one that is replaceable.
--   ttl_ms       text of an integer; "" keeps the document for ever, 0 or less is a document that has expired already
--   replaceable  the compressed document that may be replaced, or true for any
--
-- A SUCCESS stays until it expires. Whatever is stored is published too, on the channel of the key's name.

-- The documents of Celery and fastq begin with their status, in every serializer but YAML, which sorts its keys.
local function says_success(document)
  local first, second = document:byte(1, 2)
  if first == 123 then -- {: JSON
    if document:sub(1, 12) == '{"status": "' then
      return document:sub(13, 20) == 'SUCCESS"'
    end
    local is_json, meta = pcall(cjson.decode, document)
    return is_json and type(meta) == 'table' and meta.status == 'SUCCESS'
  end
  if first == 128 and second and second <= 5 then -- pickle: a text has its length before it, in one byte or four
    local _, last = document:sub(1, 40):find('status', 1, true)
    local value = last and document:sub(last + 1, last + 15) or ''
    return (value:find('\7SUCCESS', 1, true) or value:find('\7\0\0\0SUCCESS', 1, true)) ~= nil
  end
  if first and first >= 128 then -- msgpack: a map of up to 15 pairs, or of more
    local at = first == 222 and 4 or 2
    return document:sub(at, at + 14) == '\166status\167SUCCESS'
  end
  -- YAML: what stands at the beginning of a line is a key of the document itself.
  return document:sub(1, 16) == 'status: SUCCESS\n' or document:find('\nstatus: SUCCESS\n', 1, true) ~= nil
end

local function store_result(key, ttl_ms, document, replaceable)
  local stored = redis.call('GET', key)
  if stored then
    if stored:sub(1, 19) == '\0celery-compressed\0' then
      if replaceable ~= true and replaceable ~= stored then
        return false
      end
    elseif says_success(stored) then
      return true
    end
  end
  if ttl_ms == '' then
    redis.call('SET', key, document)
  elseif tonumber(ttl_ms) > 0 then
    redis.call('SET', key, document, 'PX', ttl_ms)
  else
    redis.call('DEL', key)
  end
  redis.call('PUBLISH', key, document)
  return true
end

-- One turn of a worker: what ended leaves, what is wanted comes, in one atomic step that is done once.
--
-- KEYS[1] fastq.lives, [2] fastq.life.<life>, [3] fastq.held.<life>, [4] fastq.dead.id, [5] the dead letters of the
--     first queue, for what has nowhere to go
-- then        the lists of the lanes, queue by queue: those of step 0, of step 3, ..., then the trial list
-- then        the future sets, one a queue; the inboxes, one a queue
-- then        whatever else is written to, each named by its place in KEYS
-- ARGV[1] life, [2] number of the turn, [3] number of the first tag to give, [4] credit: how many at most, -1: none,
--     but future messages that are due are moved all the same, [5] which of the queues served is the first (from 0),
--     or -1: each is served before those behind it, [6] 1 when a suspect may be given, [7] how many lanes a queue has,
--     [8] how many queues, [9] "", or a text that has of each queue a 1 if it is served
-- then nine groups, each behind the count of its members:
--     adopted   queue (from 0), first number, count: what a blocking wait told, so that the client knows it already; -1
--               as number: it has ended, and is not held first
--     unknown   queue (from 0), "" or a message: its inbox may hold what no client knows of, behind that message, which
--               has ended
--     acked     first tag, last tag
--     back      first tag, last tag: next in line again
--     lost      tag, key, envelope to put next in line in place of the one that is held
--     dead      tag, key, what to say of it
--     published key of a list or of a future set, when it is due (ms) or "", envelope or member
--     results   key, ttl, document: see result.lua, which stands before this text
--     later     tag, when it is due (ms): becomes a future message as it is
-- Returns {now (ms), when the next future message is due (ms; -1 none, -2 not looked), 1 when more is there than could
--     come along, complaints, then lane, first number, envelopes, and so on}; a tag is lane << 40 | number.
-- Errors: LEASELOST this life is over; GAP an earlier turn is missing: if the client had its reply, data was lost.
--
-- A turn whose number was done before changes nothing, and gives again what it gave, as far as it is still held.
--
-- Nothing may fail once something was written, or half a turn would count as a whole one. So: the first write is a
-- removal, for Redis refuses a script for lack of memory at its first write only, and never a removal; whatever may be
-- of a wrong type or forbidden is tried with pcall, and becomes a complaint; lists are read before they are shortened.

local LANE, PIECE, ENOUGH_BYTES, MOST_DUE, MOST_UNKNOWN, KEPT = 2 ^ 40, 250, 8388608, 1000, 16, 16
local lives, life, held, dead_id, strays = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local number, next_number, credit = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local first_queue, may_try = tonumber(ARGV[5]), ARGV[6] == '1'
local are_ranked = first_queue < 0
local width, queues, marks = tonumber(ARGV[7]), tonumber(ARGV[8]), ARGV[9]
local futures_at, inboxes_at = 5 + queues * width, 5 + queues * width + queues

if not redis.call('ZSCORE', lives, ARGV[1]) then
  return redis.error_reply('LEASELOST the lease of this life is over')
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local complaints = {}
local reply = {now, -2, 0, complaints}

local function in_pieces(command, first, last, use)
  for from = first, last, PIECE do
    local tags = {}
    for tag = from, math.min(last, from + PIECE - 1) do
      tags[#tags + 1] = tag
    end
    local found = redis.call(command, held, unpack(tags))
    if use then
      use(from, found)
    end
  end
end

local done = tonumber(redis.call('HGET', life, 'turn'))
if number > done + 1 then
  return redis.error_reply('GAP turns are missing before this one')
end
if number <= done then
  reply[3] = 1
  local of, given = (redis.call('HGET', life, 'g' .. number % KEPT) or ''):match('^(%d+)(.*)$')
  if tonumber(of) == number then
    for lane, first, count in given:gmatch(' (%d+) (%d+) (%d+)') do
      local envelopes = {}
      in_pieces('HMGET', lane * LANE + first, lane * LANE + first + count - 1, function(_, found)
        for i = 1, #found do
          envelopes[#envelopes + 1] = found[i]
        end
      end)
      reply[#reply + 1], reply[#reply + 2], reply[#reply + 3] = tonumber(lane), tonumber(first), envelopes
    end
  end
  return reply
end

-- The first write; see above.
redis.call('HDEL', held, '')
redis.call('HSET', life, 'turn', number)

local at = 10
local function members(size)
  local first, count = at + 1, tonumber(ARGV[at])
  at = first + size * count
  return first, at - 1, size
end

local function failed(answer, what)
  if type(answer) == 'table' and answer.err then
    complaints[#complaints + 1] = what .. ': ' .. answer.err
    return true
  end
  return false
end

local function bury(key, about, envelope)
  local id = redis.call('INCR', dead_id)
  local letter = string.format('%d\n%d\n%s\n%s', id, now, about, envelope)
  return not failed(redis.pcall('ZADD', key, id, letter), key)
end

local function put(command, key, envelope)
  if failed(redis.pcall(command, key, envelope), key) then
    bury(strays, cjson.encode({key = key, reason = complaints[#complaints]}), envelope)
  end
end

local given = {}
local function note_given(lane, first, envelopes)
  if #envelopes > 0 then
    given[#given + 1] = string.format(' %d %d %d', lane, first, #envelopes)
    reply[#reply + 1], reply[#reply + 2], reply[#reply + 3] = lane, first, envelopes
  end
end

local function keep(lane, first, envelopes)
  local fields = {}
  for i, envelope in ipairs(envelopes) do
    fields[2 * i - 1], fields[2 * i] = lane * LANE + first + i - 1, envelope
  end
  redis.call('HSET', held, unpack(fields))
end

-- What blocking waits got; the next one is at the left end of an inbox.
local from, to, step = members(3)
for i = from, to, step do
  local queue, first, count = tonumber(ARGV[i]), tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2])
  local inbox = KEYS[inboxes_at + queue + 1]
  local envelopes = first < 0 and {} or redis.call('LRANGE', inbox, 0, count - 1)
  if #envelopes > 0 then
    keep(queue * width, first, envelopes)
  end
  if first < 0 or #envelopes > 0 then
    redis.call('LTRIM', inbox, count, -1)
  end
end
from, to, step = members(2)
for i = from, to, step do
  local lane = tonumber(ARGV[i]) * width
  local inbox = KEYS[inboxes_at + ARGV[i] + 1]
  local envelopes = redis.call('LRANGE', inbox, 0, MOST_UNKNOWN - 1)
  local found, ended = #envelopes, ARGV[i + 1]
  if ended ~= '' and envelopes[1] == ended then
    table.remove(envelopes, 1)
  end
  if #envelopes > 0 then
    keep(lane, next_number, envelopes)
  end
  if found > 0 then
    redis.call('LTRIM', inbox, found, -1)
    note_given(lane, next_number, envelopes)
    next_number = next_number + #envelopes
  end
end

-- Endings.
from, to, step = members(2)
for i = from, to, step do
  in_pieces('HDEL', tonumber(ARGV[i]), tonumber(ARGV[i + 1]))
end
from, to, step = members(2)
for i = to - 1, from, -step do -- the last run first, and of each the last first, so that the first is next in line
  local first, last = tonumber(ARGV[i]), tonumber(ARGV[i + 1])
  for tag = last, first, -1 do
    local envelope = redis.call('HGET', held, tag)
    if envelope then
      put('RPUSH', KEYS[5 + math.floor(tag / LANE) + 1], envelope)
      redis.call('HDEL', held, tag)
    end
  end
end
from, to, step = members(3)
for i = to - 2, from, -step do
  if redis.call('HEXISTS', held, ARGV[i]) == 1 then
    put('RPUSH', KEYS[tonumber(ARGV[i + 1])], ARGV[i + 2])
    redis.call('HDEL', held, ARGV[i])
  end
end
from, to, step = members(3)
for i = from, to, step do
  local envelope = redis.call('HGET', held, ARGV[i])
  if envelope and bury(KEYS[tonumber(ARGV[i + 1])], ARGV[i + 2], envelope) then
    redis.call('HDEL', held, ARGV[i])
  end
end
from, to, step = members(3)
for i = from, to, step do
  local key, due, envelope = KEYS[tonumber(ARGV[i])], ARGV[i + 1], ARGV[i + 2]
  if due == '' then
    put('LPUSH', key, envelope)
  elseif failed(redis.pcall('ZADD', key, due, envelope), key) then
    bury(strays, cjson.encode({key = key, reason = complaints[#complaints]}), envelope)
  end
end
from, to, step = members(3)
for i = from, to, step do
  local key = KEYS[tonumber(ARGV[i])]
  local is_done, problem = pcall(store_result, key, ARGV[i + 1], ARGV[i + 2], true)
  if not is_done then
    complaints[#complaints + 1] = key .. ': ' .. tostring(type(problem) == 'table' and problem.err or problem)
  end
end

-- What is not due yet, in pieces: whole queues of it may come by.
local function defer(first, last)
  local tags, moved = {}, {}
  for i = first, last, 2 do
    tags[#tags + 1] = ARGV[i]
  end
  for i, envelope in ipairs(redis.call('HMGET', held, unpack(tags))) do
    local lane = math.floor(tonumber(tags[i]) / LANE)
    local future = KEYS[futures_at + math.floor(lane / width) + 1]
    if envelope then
      local member = KEYS[5 + lane + 1] .. '\n' .. envelope
      if not failed(redis.pcall('ZADD', future, ARGV[first + 2 * i - 1], member), future)
          or bury(strays, cjson.encode({key = future, reason = complaints[#complaints]}), envelope) then
        moved[#moved + 1] = tags[i]
      end
    end
  end
  if #moved > 0 then
    redis.call('HDEL', held, unpack(moved))
  end
end

from, to, step = members(2)
for i = from, to, step * PIECE do
  defer(i, math.min(to, i + step * PIECE - 1))
end

-- Future messages that are due go to their lists, as if they were sent now.
local function move_due(key)
  local due = redis.call('ZRANGEBYSCORE', key, '-inf', now, 'LIMIT', 0, MOST_DUE)
  for i, member in ipairs(due) do
    local cut = member:find('\n', 1, true) or 0
    put('LPUSH', member:sub(1, cut - 1), member:sub(cut + 1))
    redis.call('ZREM', key, member)
  end
end

local served = {}
for queue = 0, queues - 1 do
  if marks == '' or marks:byte(queue + 1) == 49 then
    served[#served + 1] = queue
  end
end

local function look_ahead()
  local earliest = -1
  for _, queue in ipairs(served) do
    local key = KEYS[futures_at + queue + 1]
    local soonest = redis.pcall('ZRANGE', key, 0, 0, 'WITHSCORES')
    if not failed(soonest, key) and soonest[2] and tonumber(soonest[2]) <= now then
      move_due(key)
      soonest = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')
    end
    local due = tonumber(soonest[2])
    if due and (earliest < 0 or due < earliest) then
      earliest = due
    end
  end
  reply[2] = math.ceil(earliest)
end

local bytes = 0
local function take(lane, most)
  local key, first, taken = KEYS[5 + lane + 1], next_number, {}
  while #taken < most and bytes < ENOUGH_BYTES do
    local piece = math.min(PIECE, most - #taken)
    local envelopes = redis.pcall('LRANGE', key, -piece, -1)
    if failed(envelopes, key) or #envelopes == 0 then
      break
    end
    local count, fields = #envelopes, {}
    for i = count, 1, -1 do -- the next one is at the right end
      fields[#fields + 1] = lane * LANE + next_number
      fields[#fields + 1] = envelopes[i]
      taken[#taken + 1] = envelopes[i]
      bytes = bytes + #envelopes[i]
      next_number = next_number + 1
    end
    redis.call('HSET', held, unpack(fields))
    redis.call('LTRIM', key, 0, -count - 1)
    if count < piece then
      break
    end
  end
  note_given(lane, first, taken)
  return #taken
end

local function in_turn(of_queue)
  for i = 0, #served - 1 do
    of_queue(served[(math.max(first_queue, 0) + i) % #served + 1], are_ranked and 1 or #served - i)
  end
end

-- Each queue of a step has its share, and what some leave the others may take.
local function take_step(step, left)
  local hungry = {}
  in_turn(function(queue, others)
    local share = math.ceil(left / others)
    local count = left > 0 and take(queue * width + step, share) or 0
    left = left - count
    if count == share and count > 0 then
      hungry[#hungry + 1] = queue
    end
  end)
  for _, queue in ipairs(hungry) do
    if left > 0 then
      left = left - take(queue * width + step, left)
    end
  end
  return left
end

if credit ~= 0 then
  look_ahead()
end
if credit > 0 then
  local left = credit
  -- Where tasks come one by one there is nothing, as one question finds.
  if futures_at < PIECE and redis.call('EXISTS', unpack(KEYS, 6, futures_at)) == 0 then
    left, may_try = 0, false
  end
  if may_try then
    in_turn(function(queue)
      if left == credit then
        left = left - take(queue * width + width - 1, 1)
      end
    end)
  end
  for step = 0, width - 2 do
    if left > 0 then
      left = take_step(step, left)
    end
  end
  reply[3] = (left > 0 and bytes >= ENOUGH_BYTES) and 1 or 0
end
if #given > 0 then
  redis.call('HSET', life, 'g' .. number % KEPT, number .. table.concat(given))
end
return reply

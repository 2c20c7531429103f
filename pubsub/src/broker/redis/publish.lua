-- Counts entries on all of their streams, keeps them there, and sends them to all nodes that are attached.
--
-- KEYS: the meta and the history of each stream, and the generation.
-- ARGV: the ticket, a new epoch, how many streams; of each stream its channel and its greatest number, bytes and age of
-- entries; then of each entry its text, how many places it has, and for each of these which of the streams it is in.
local ticket, epoch, count = ARGV[1], ARGV[2], tonumber(ARGV[3])

-- Channels that share a stream may ask for different histories: it keeps enough for both.
local function retain(stream, entries, bytes, age)
  if stream.max_entries == 0 then
    stream.max_entries, stream.max_bytes, stream.max_age = entries, bytes, age
  elseif entries > 0 then
    stream.max_entries = math.max(stream.max_entries, entries)
    stream.max_bytes = math.max(stream.max_bytes, bytes)
    local unlimited = stream.max_age == 0 or age == 0
    stream.max_age = unlimited and 0 or math.max(stream.max_age, age)
  end
end

local function is_too_old(stream)
  if stream.max_age == 0 then
    return false
  end
  local oldest = redis.call('LINDEX', stream.history, 0)
  return tonumber(string.match(oldest, '^%d+')) < now - stream.max_age
end

-- One element an offset, without a hole, so the newest has the offset of the top.
local function keep(stream)
  if stream.max_entries == 0 then
    return
  end
  for _, text in ipairs(stream.new) do
    stream.length = redis.call('RPUSH', stream.history, text)
    stream.bytes = stream.bytes + #text
  end
  while stream.length > 0
    and (stream.length > stream.max_entries or stream.bytes > stream.max_bytes or is_too_old(stream)) do
    stream.bytes = stream.bytes - #redis.call('LPOP', stream.history)
    stream.length = stream.length - 1
  end
  redis.call('PEXPIRE', stream.history, stream.max_age > 0 and stream.max_age or DAY)
end

-- All streams are loaded before anything is written: a key that somebody has used for something else fails the whole call.
local streams, next = {}, 4
for i = 1, count do
  local stream = load(KEYS[2 * i - 1], KEYS[2 * i], epoch)
  -- What is kept, one text for each place, and what is sent, one for each entry.
  stream.channel, stream.new, stream.sent = ARGV[next], {}, {}
  retain(stream, tonumber(ARGV[next + 1]), tonumber(ARGV[next + 2]), tonumber(ARGV[next + 3]))
  streams[i], next = stream, next + 4
end

local answers = {}
while next <= #ARGV do
  local first, last = next + 2, next + 1 + tonumber(ARGV[next + 1])
  local positions = {}
  for i = first, last do
    local stream = streams[tonumber(ARGV[i])]
    stream.top = stream.top + 1
    table.insert(positions, stream.epoch)
    table.insert(positions, string.format('%.0f', stream.top))
  end
  local answer = table.concat(positions, ' ')
  local text = string.format('%.0f ', now) .. answer .. '\n' .. ARGV[next]
  local message = #text .. ':' .. text
  for i = first, last do
    local stream = streams[tonumber(ARGV[i])]
    table.insert(stream.new, text)
    if stream.newest ~= next then
      stream.newest = next
      table.insert(stream.sent, message)
    end
  end
  table.insert(answers, answer)
  next = last + 1
end

for _, stream in ipairs(streams) do
  clear(stream)
  keep(stream)
  save(stream)
  redis.call('SPUBLISH', stream.channel, table.concat(stream.sent))
end
return { ticket, answers }

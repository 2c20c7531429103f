-- Counts an entry on all of its streams, keeps it there, and sends it to all nodes that are attached.
--
-- KEYS: the meta and the history of each stream.
-- ARGV: the ticket, a new epoch, the entry, how many streams; of each stream its channel and its greatest number, bytes
-- and age of entries; then for each place of the entry which of the streams it is in.
local ticket, epoch, entry, count = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])

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

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function is_too_old(stream)
  if stream.max_age == 0 then
    return false
  end
  local oldest = redis.call('LINDEX', stream.history, 0)
  return tonumber(string.match(oldest, '^%d+')) < now - stream.max_age
end

-- One element an offset, without a hole, so the newest has the offset of the top.
local function keep(stream, text)
  if stream.renewed then
    redis.call('DEL', stream.history)
  end
  if stream.max_entries == 0 then
    return
  end
  local length
  for _ = 1, stream.places do
    length = redis.call('RPUSH', stream.history, text)
  end
  -- What was kept may have been evicted.
  local before = length > stream.places and stream.bytes or 0
  stream.bytes = before + stream.places * #text
  while length > 0 and (length > stream.max_entries or stream.bytes > stream.max_bytes or is_too_old(stream)) do
    stream.bytes = stream.bytes - #redis.call('LPOP', stream.history)
    length = length - 1
  end
  redis.call('PEXPIRE', stream.history, stream.max_age > 0 and stream.max_age or DAY)
end

local streams = {}
for i = 1, count do
  local stream = load(KEYS[2 * i - 1], KEYS[2 * i], epoch)
  stream.channel, stream.places = ARGV[4 * i + 1], 0
  retain(stream, tonumber(ARGV[4 * i + 2]), tonumber(ARGV[4 * i + 3]), tonumber(ARGV[4 * i + 4]))
  streams[i] = stream
end

local positions = {}
for i = 4 * count + 5, #ARGV do
  local stream = streams[tonumber(ARGV[i])]
  stream.places, stream.top = stream.places + 1, stream.top + 1
  table.insert(positions, stream.epoch)
  table.insert(positions, string.format('%.0f', stream.top))
end

local text = string.format('%.0f ', now) .. table.concat(positions, ' ') .. '\n' .. entry
for _, stream in ipairs(streams) do
  keep(stream, text)
  save(stream)
  redis.call('SPUBLISH', stream.channel, text)
end
return { ticket, positions }

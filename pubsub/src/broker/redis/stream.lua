-- What the other scripts know of a stream. Its meta is a hash: the epoch and the top of its count, when the epoch began, the
-- term in which it was counted, how much history is asked for, and the bytes of what is kept.
local DAY = 86400000
-- A server has a new replication id when it is started and whenever it becomes the master, also for the second time. The
-- generation is that of `nodes.lua`, whose key is the last of each script.
local term = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
  .. ':' .. (redis.call('GET', KEYS[#KEYS]) or '')

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function renew(stream, epoch)
  stream.begun = now
  stream.epoch, stream.top, stream.length, stream.bytes, stream.renewed = epoch, 0, 0, 0, true
end

-- What a stream with a new epoch has kept belongs to the old one.
local function clear(stream)
  if stream.renewed then
    redis.call('DEL', stream.history)
  end
end

-- A server that was restarted, or was a replica meanwhile, may know less than what was said in its name: only what was
-- counted in its present term goes on.
local function load(meta, history, epoch)
  local had = redis.call('HMGET', meta, 'epoch', 'top', 'term', 'bytes', 'max_entries', 'max_bytes', 'max_age', 'begun')
  local stream = { meta = meta, history = history, epoch = had[1], top = tonumber(had[2] or 0) }
  stream.length = redis.call('LLEN', history)
  -- What was kept may have been evicted.
  stream.bytes = stream.length > 0 and tonumber(had[4] or 0) or 0
  stream.max_entries, stream.max_bytes = tonumber(had[5] or 0), tonumber(had[6] or 0)
  -- Milliseconds; 0 is without a limit.
  stream.max_age = tonumber(had[7] or 0)
  -- A server of a former version noted no time, which counts as long ago.
  stream.begun = tonumber(had[8] or 0)
  if not had[1] or had[3] ~= term then
    renew(stream, epoch)
  end
  return stream
end

-- The meta outlives the history, so that who comes back too late finds a count that went on.
local function save(stream)
  redis.call('HSET', stream.meta, 'epoch', stream.epoch, 'top', stream.top, 'term', term,
    'bytes', stream.bytes, 'max_entries', stream.max_entries, 'max_bytes', stream.max_bytes, 'max_age', stream.max_age,
    'begun', stream.begun)
  redis.call('PEXPIRE', stream.meta, math.max(stream.max_age, DAY) + DAY)
end

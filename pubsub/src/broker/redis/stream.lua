-- What the other scripts know of a stream. Its meta is a hash: the epoch and the top of its count, the run id of the
-- server that counted, how much history is asked for, and the bytes of what is kept.
local DAY = 86400000
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')

local function renew(stream, epoch)
  stream.epoch, stream.top, stream.bytes, stream.renewed = epoch, 0, 0, true
end

-- A server that was restarted, or was a replica until now, may know less than what was said in its name: only what this
-- very server counted goes on.
local function load(meta, history, epoch)
  local had = redis.call('HMGET', meta, 'epoch', 'top', 'run', 'bytes', 'max_entries', 'max_bytes', 'max_age')
  local stream = { meta = meta, history = history, epoch = had[1], top = tonumber(had[2] or 0) }
  stream.bytes = tonumber(had[4] or 0)
  stream.max_entries, stream.max_bytes = tonumber(had[5] or 0), tonumber(had[6] or 0)
  -- Milliseconds; 0 is without a limit.
  stream.max_age = tonumber(had[7] or 0)
  if not had[1] or had[3] ~= run then
    renew(stream, epoch)
  end
  return stream
end

-- The meta outlives the history, so that who comes back too late finds a count that went on.
local function save(stream)
  redis.call('HSET', stream.meta, 'epoch', stream.epoch, 'top', stream.top, 'run', run, 'bytes', stream.bytes,
    'max_entries', stream.max_entries, 'max_bytes', stream.max_bytes, 'max_age', stream.max_age)
  redis.call('PEXPIRE', stream.meta, math.max(stream.max_age, DAY) + DAY)
end

-- What the scripts of records share.
--
-- KEYS: the records, their names, their names by holder, and when each is gone.
-- ARGV: the ticket, and a new store.
--
-- The records are one hash. The fields `store`, `term` and `epoch` say which store this is, in whose term it was begun, and the
-- last epoch; `:key` has the epoch, the end of the lease, how long it is kept after that, and the holder of a record, and `=key`
-- its value. The others are sorted sets that find them. Any of these may have been evicted.
local records, names, held, ends = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local ticket, store = ARGV[1], ARGV[2]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
-- As with streams: a server that was restarted, or was a replica meanwhile, may have other records than what was answered.
local term = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')

local function text(number)
  return string.format('%.0f', number)
end

-- No other holder and key have the same.
local function of_holder(holder, key)
  return #holder .. ':' .. holder .. ':' .. key
end

local function load(key)
  local had = redis.call('HGET', records, ':' .. key)
  if not had then
    return nil
  end
  local epoch, till, keep, holder = string.match(had, '^(%d+) (%d+) (%d+) (.*)$')
  return { epoch = tonumber(epoch), till = tonumber(till), keep = tonumber(keep), holder = holder }
end

local function exists(record)
  return record and record.till + record.keep > now
end

-- The lease of a record, for a new one too.
local function save(key, record)
  local fields = { text(record.epoch), text(record.till), text(record.keep), record.holder }
  redis.call('HSET', records, ':' .. key, table.concat(fields, ' '))
  redis.call('ZADD', ends, text(record.till + record.keep), key)
end

local function remove(key, record)
  redis.call('HDEL', records, ':' .. key, '=' .. key)
  redis.call('ZREM', names, key)
  redis.call('ZREM', ends, key)
  redis.call('ZREM', held, of_holder(record.holder, key))
end

-- A record as it is told.
local function shown(key, record)
  local left = math.max(record.till - now, 0)
  return { key, record.holder, redis.call('HGET', records, '=' .. key), text(record.epoch), text(left) }
end

-- Nothing outlives the last record by more than a day.
local function expire()
  local last = redis.call('ZRANGE', ends, -1, -1, 'WITHSCORES')
  local at = text(math.max(tonumber(last[2] or 0), now) + 86400000)
  for _, key in ipairs(KEYS) do
    redis.call('PEXPIREAT', key, at)
  end
end

local had = redis.call('HMGET', records, 'store', 'term')
local count = redis.call('ZCARD', names)
if had[1] and had[2] == term and redis.call('HLEN', records) == 3 + 2 * count
  and redis.call('ZCARD', held) == count and redis.call('ZCARD', ends) == count then
  store = had[1]
else
  redis.call('UNLINK', records, names, held, ends)
  redis.call('HSET', records, 'store', store, 'term', term, 'epoch', 0)
  expire()
end
-- Some of those that are gone are forgotten.
for _, key in ipairs(redis.call('ZRANGEBYSCORE', ends, '-inf', text(now), 'LIMIT', 0, 64)) do
  remove(key, load(key))
end

-- Changes one record, if it is as it must be.
--
-- ARGV, after those of all: the key; what must be so, and the holder, the store and the epoch that it names; what is done;
-- for `set` the holder, the value, the lease and how long the record is kept after it, in milliseconds.
local key, when, holder, of_store, epoch = ARGV[3], ARGV[4], ARGV[5], ARGV[6], tonumber(ARGV[7])
local record = load(key)

local function answer(verdict, of)
  return { ticket, { store, verdict, of } }
end

local function is_so()
  if when == 'expired' then
    return record.till <= now
  end
  return of_store == store and epoch == record.epoch and (when == 'claim' or holder == record.holder)
end

if exists(record) then
  if when == 'absent' or not is_so() then
    return answer('held', shown(key, record))
  end
elseif when ~= 'absent' then
  return answer('absent', { key, '', '', '0', '0' })
end

if when ~= 'held' then
  epoch = redis.call('HINCRBY', records, 'epoch', 1)
end
if ARGV[8] == 'set' then
  -- What a server without room refuses comes first: nothing is removed then.
  local set = { epoch = epoch, till = now + tonumber(ARGV[11]), keep = tonumber(ARGV[12]), holder = ARGV[9] }
  save(key, set)
  redis.call('HSET', records, '=' .. key, ARGV[10])
  redis.call('ZADD', names, 0, key)
  redis.call('ZADD', held, 0, of_holder(set.holder, key))
  if record and record.holder ~= set.holder then
    redis.call('ZREM', held, of_holder(record.holder, key))
  end
  expire()
else
  remove(key, record)
end
return answer('accepted', { key, '', '', text(epoch), '0' })

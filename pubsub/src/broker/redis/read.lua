-- What is kept after a position; nothing if some of it is not.
--
-- KEYS: the meta and the history, and the generation.
-- ARGV: the ticket, the epoch, the offset.
local ticket, epoch, after = ARGV[1], ARGV[2], tonumber(ARGV[3])
local stream = load(KEYS[1], KEYS[2], '')
local floor = stream.top - stream.length
if stream.epoch ~= epoch or after < floor or after > stream.top then
  return { ticket, false }
end
return { ticket, redis.call('LRANGE', KEYS[2], after - floor, -1) }

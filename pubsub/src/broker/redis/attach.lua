-- Says where a stream stands, and gives it a new epoch if it lost something.
--
-- KEYS: the meta and the history, and the generation.
-- ARGV: the ticket, a new epoch, the channel, the node, the epoch and the offset that the node has applied (the epoch is
-- empty if none), and how many milliseconds ago the node delivered on its own, empty if it did not.
local ticket, epoch, channel, node, known, offset = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[6])
local stream = load(KEYS[1], KEYS[2], epoch)
local same = known == '' or known == stream.epoch
-- Another node may have renewed the stream before this one delivered. If the clock was set back, nobody knows.
local alone, age = tonumber(ARGV[7]), now - stream.begun
if (same and (alone or offset > stream.top)) or (alone and (age >= alone or age < 0)) then
  renew(stream, epoch)
end
clear(stream)
save(stream)
if stream.renewed then
  -- To the other nodes: a message without an entry says who renewed the stream.
  redis.call('SPUBLISH', channel, node)
end
return { ticket, { stream.epoch, stream.top, stream.top - stream.length } }

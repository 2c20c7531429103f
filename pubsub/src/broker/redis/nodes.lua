-- Shows that a node lives, forgets those that did not show it for five seconds, and names the rest.
--
-- KEYS: the nodes by the time of their last sign, on this server's clock; the generation; then the farewell of each node
-- that is missed.
-- ARGV: the ticket, the node; then those that it has not seen again since it could not reach this server.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', KEYS[1], now, ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - 5000)
redis.call('PEXPIRE', KEYS[1], 86400000)
-- One that ended without a farewell, while it could not reach this server, may have delivered events that the others never
-- hear of. Nobody knows in which streams, so no count goes on.
for i = 3, #ARGV do
  if not redis.call('ZSCORE', KEYS[1], ARGV[i]) and redis.call('SET', KEYS[i], '', 'NX', 'PX', 3600000) then
    redis.call('INCR', KEYS[2])
  end
end
return { ARGV[1], { redis.call('GET', KEYS[2]) or '', redis.call('ZRANGE', KEYS[1], 0, -1) } }

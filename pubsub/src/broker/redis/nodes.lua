-- Shows that a node lives, forgets those that did not show it for five seconds, and names the rest.
--
-- KEYS: the nodes by the time of their last sign, on this server's clock.
-- ARGV: the ticket, the node.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', KEYS[1], now, ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - 5000)
redis.call('PEXPIRE', KEYS[1], 86400000)
return { ARGV[1], redis.call('ZRANGE', KEYS[1], 0, -1) }

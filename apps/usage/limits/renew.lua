-- Extends the leases of requests that are still running; a place that was lost meanwhile is taken again.
-- KEYS: places, one for each request and dimension. ARGV: slot in ms, lease in ms, then the request of each key.

local lease_ms = tonumber(ARGV[2])
for at = 1, #KEYS do
  redis.call('ZADD', KEYS[at], now + lease_ms, ARGV[at + 2])
  redis.call('PEXPIRE', KEYS[at], lease_ms + 1000)
end
return 0

-- Counts a request in all its dimensions, or in none if a limit is reached.
-- KEYS: for each dimension its window (where it has rpm or tpm), then its places (where it has concurrency).
-- ARGV: slot in ms, lease in ms, then rpm, tpm and concurrency of each dimension, 0 for none; then the request.
-- Returns the dimension that refuses (0: none), its kind (1 rpm, 2 tpm, 3 concurrency) and the ms to wait; then for
-- requests, and again for tokens, the tightest dimension (0: none), what remains of it, and the ms until all does.

local PLACE_RETRY_MS = 1000
local request, lease_ms = ARGV[#ARGV], tonumber(ARGV[2])

-- Returns the ms until a window's requests or tokens will have fallen below a limit.
local function wait_below(window, column, limit)
  local total = column == 1 and window.requests or window.tokens
  local cells = cells_of(window)
  for from = 1, #cells, CELL_BYTES do
    local old, requests, tokens = struct.unpack(CELL, cells, from)
    total = total - (column == 1 and requests or tokens)
    if total < limit then return (old + SLOTS + 1) * slot_ms - now end
  end
  return (window.slot + SLOTS + 1) * slot_ms - now
end

local refused, kind, wait = 0, 0, -1
local function refuse(dimension, why, ms)
  if ms > wait then refused, kind, wait = dimension, why, ms end
end

local windows, places, key = {}, {}, 0
local dimensions = (#ARGV - 3) / 3
for d = 1, dimensions do
  local at = 3 * d
  local rpm, tpm, concurrency = tonumber(ARGV[at]), tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  if rpm > 0 or tpm > 0 then
    key = key + 1
    local window = read_window(KEYS[key])
    window.rpm, window.tpm, window.dimension = rpm, tpm, d
    windows[#windows + 1] = window
    if rpm > 0 and window.requests >= rpm then refuse(d, 1, wait_below(window, 1, rpm)) end
    if tpm > 0 and window.tokens >= tpm then refuse(d, 2, wait_below(window, 2, tpm)) end
  end
  if concurrency > 0 then
    key = key + 1
    places[#places + 1] = KEYS[key]
    if redis.call('ZCARD', KEYS[key]) >= concurrency then
      redis.call('ZREMRANGEBYSCORE', KEYS[key], '-inf', now)
      if redis.call('ZCARD', KEYS[key]) >= concurrency then refuse(d, 3, PLACE_RETRY_MS) end
    end
  end
end

local answer = {refused, kind, math.max(math.ceil(wait), 0), 0, 0, 0, 0, 0, 0}
local limits = {}  -- of the dimensions in it
local function tell(at, window, limit, used, last)
  local left = math.max(limit - used, 0)
  local best = answer[at]
  if best == 0 or left < answer[at + 1] or (left == answer[at + 1] and limit < limits[at]) then
    answer[at], answer[at + 1] = window.dimension, left
    answer[at + 2] = used > 0 and math.max(math.ceil((last + SLOTS + 1) * slot_ms - now), 0) or 0
    limits[at] = limit
  end
end

for _, window in ipairs(windows) do
  local counts = refused == 0 and window.rpm > 0
  if counts then
    window.requests = window.requests + 1
    window.now_requests = window.now_requests + 1
    window.last_request = window.slot
  end
  -- A window that was only rolled is written as well, so that a flood of refused calls does not roll it each time.
  if counts or (window.rolled and window.requests + window.tokens > 0) then write_window(window) end
  if window.rpm > 0 then tell(4, window, window.rpm, window.requests, window.last_request) end
  if window.tpm > 0 then tell(7, window, window.tpm, window.tokens, window.last_token) end
end
if refused == 0 then
  for _, name in ipairs(places) do
    redis.call('ZADD', name, now + lease_ms, request)
    redis.call('PEXPIRE', name, lease_ms + 1000)
  end
end
return answer

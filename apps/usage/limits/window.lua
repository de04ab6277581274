-- Windows of requests and tokens, as in memory.py: the same slots, the same answers. In front of each script.
--
-- A window is one string: a head of seven numbers (the present slot; requests and tokens in all; the same in the
-- present slot; the slots that last had a request and a token), then three numbers (slot, requests, tokens) for each
-- older slot that is not empty, oldest first. Within a slot only the head is read and written.
-- The server's clock is the only one: those of the processes need not agree.

local HEAD, CELL, SLOTS = '<ddddddd', '<ddd', 60
local HEAD_BYTES, CELL_BYTES = 56, 24

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local slot_ms = tonumber(ARGV[1])
local slot = math.floor(now / slot_ms)

local function cells_of(window)
  if not window.cells then
    window.cells = string.sub(redis.call('GET', window.key) or '', HEAD_BYTES + 1)
  end
  return window.cells
end

-- Returns the window of a key, rolled to the present slot; `rolled` where its older slots must be written too.
local function read_window(key)
  local head = redis.call('GETRANGE', key, 0, HEAD_BYTES - 1)
  if head == '' then
    return {key = key, slot = slot, requests = 0, tokens = 0, now_requests = 0, now_tokens = 0,
            last_request = 0, last_token = 0, cells = '', rolled = true}
  end
  local window = {key = key}
  window.slot, window.requests, window.tokens, window.now_requests, window.now_tokens,
    window.last_request, window.last_token = struct.unpack(HEAD, head)
  -- A clock that was put back counts on in the slot it had reached.
  if window.slot < slot then
    local cells = cells_of(window)
    if window.now_requests > 0 or window.now_tokens > 0 then
      cells = cells .. struct.pack(CELL, window.slot, window.now_requests, window.now_tokens)
    end
    local from = 1
    while from <= #cells do
      local old, requests, tokens = struct.unpack(CELL, cells, from)
      if old >= slot - SLOTS then break end
      window.requests = window.requests - requests
      window.tokens = window.tokens - tokens
      from = from + CELL_BYTES
    end
    window.cells = string.sub(cells, from)
    window.slot, window.now_requests, window.now_tokens, window.rolled = slot, 0, 0, true
  end
  return window
end

local function write_window(window)
  local head = struct.pack(HEAD, window.slot, window.requests, window.tokens, window.now_requests,
    window.now_tokens, window.last_request, window.last_token)
  if window.rolled then
    -- Whatever is counted in this slot is forgotten SLOTS + 1 slots after it; one more for the part that is over.
    redis.call('SET', window.key, head .. window.cells, 'PX', (SLOTS + 3) * slot_ms)
  else
    redis.call('SETRANGE', window.key, 0, head)
  end
end

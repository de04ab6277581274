-- Adds a finished request's tokens to its windows and gives back its places.
-- KEYS: the windows that count tokens, then the places. ARGV: slot in ms, how many keys are windows, request, tokens.

local count, request, tokens = tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4])
for at = 1, count do
  local window = read_window(KEYS[at])
  window.tokens = window.tokens + tokens
  window.now_tokens = window.now_tokens + tokens
  window.last_token = window.slot
  write_window(window)
end
for at = count + 1, #KEYS do
  redis.call('ZREM', KEYS[at], request)
end
return 0

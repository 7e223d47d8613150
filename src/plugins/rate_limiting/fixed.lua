-- Fixed windows. KEYS: the current window of each period. ARGV: the limits, then how long each key
-- is to live, in milliseconds. Answers whether the request passes, then how often each window was
-- used before; what is refused is not counted.
local n = #KEYS
local counts = redis.call('MGET', unpack(KEYS))
local reply = { 1 }
for i = 1, n do
  local used = tonumber(counts[i] or 0)
  if used >= tonumber(ARGV[i]) then
    reply[1] = 0
  end
  reply[i + 1] = used
end
if reply[1] == 1 then
  for i = 1, n do
    if redis.call('INCR', KEYS[i]) == 1 then
      redis.call('PEXPIRE', KEYS[i], ARGV[n + i])
    end
  end
end
return reply

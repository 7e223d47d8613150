-- Sliding windows. KEYS: for each period this window and the last one. ARGV: for each period the
-- limit, milliseconds since this window began, and its length. Answers whether the request passes,
-- then for each period how often both windows were used before. The same arithmetic, in the same
-- order, as limits/sliding.rs.
local n = #KEYS / 2
local counts = redis.call('MGET', unpack(KEYS))
local reply = { 1 }
for i = 1, n do
  local this = tonumber(counts[2 * i - 1] or 0)
  local last = tonumber(counts[2 * i] or 0)
  local limit = tonumber(ARGV[3 * i - 2])
  local elapsed = tonumber(ARGV[3 * i - 1])
  local length = tonumber(ARGV[3 * i])
  if this + math.ceil(last * (length - elapsed) / length) >= limit then
    reply[1] = 0
  end
  reply[2 * i] = this
  reply[2 * i + 1] = last
end
if reply[1] == 1 then
  for i = 1, n do
    if redis.call('INCR', KEYS[2 * i - 1]) == 1 then
      redis.call('PEXPIRE', KEYS[2 * i - 1], 2 * tonumber(ARGV[3 * i]) + 10000)
    end
  end
end
return reply

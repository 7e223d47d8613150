-- A token bucket (GCRA). KEYS: the bucket. ARGV: now in seconds and nanoseconds, nanoseconds for a
-- token, tokens of a full bucket. The bucket is the moment at which it will be full again, as
-- seconds:nanoseconds, for a number alone would lose the nanoseconds. Answers whether there was a
-- token, then that moment: seconds from now on, and nanoseconds.
local seconds = tonumber(ARGV[1])
local now = tonumber(ARGV[2])
local interval = tonumber(ARGV[3])
local burst = tonumber(ARGV[4])
local full = now
local held = redis.call('GET', KEYS[1])
if held then
  local s, ns = string.match(held, '^(%d+):(%d+)$')
  full = (tonumber(s) - seconds) * 1e9 + tonumber(ns)
  full = math.min(full, now + interval * burst)
end
local passes = 0
if now >= full - interval * (burst - 1) then
  passes = 1
  full = math.max(full, now) + interval
end
local s = math.floor(full / 1e9)
local ns = full - s * 1e9
if passes == 1 then
  local value = string.format('%.0f:%.0f', seconds + s, ns)
  local ttl = string.format('%.0f', math.ceil((full - now) / 1e6) + 10000)
  redis.call('SET', KEYS[1], value, 'PX', ttl)
end
return { passes, s, ns }

-- Exchange of counts. KEYS: windows. ARGV: for each how often it was used since the last exchange,
-- then how long it is to live, in milliseconds. Answers the totals.
local n = #KEYS
local reply = {}
for i = 1, n do
  local more = tonumber(ARGV[i])
  if more > 0 then
    reply[i] = redis.call('INCRBY', KEYS[i], ARGV[i])
    if reply[i] == more then
      redis.call('PEXPIRE', KEYS[i], ARGV[n + i])
    end
  else
    reply[i] = tonumber(redis.call('GET', KEYS[i]) or 0)
  end
end
return reply

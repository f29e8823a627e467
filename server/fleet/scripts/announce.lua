-- An agent is there and serves an engine.
-- KEYS  agents  until  epoch  model  work  work  load
-- ARGV  AGENT/FINGERPRINT  announcement  ttl_ms  life_ms  epoch_candidate (a new one at each call)
-- Gives {seconds, microseconds, epoch, 1 if the model is known}.

local time, now = prune(KEYS[1], KEYS[2])
local ttl, life = tonumber(ARGV[3]), tonumber(ARGV[4])
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('ZADD', KEYS[2], now + ttl, ARGV[1])
redis.call('PEXPIRE', KEYS[1], 10 * ttl)
redis.call('PEXPIRE', KEYS[2], 10 * ttl)
local epoch = epoch_of(KEYS[3], ARGV[5])
for i = 5, 7 do
    extend(KEYS[i], life)
end
return {time[1], time[2], epoch, redis.call('PEXPIRE', KEYS[4], life)}

-- Who is there.
-- KEYS  agents  until  epoch
-- ARGV  epoch_candidate (a new one at each call)
-- Gives {seconds, microseconds, epoch, {AGENT/FINGERPRINT, announcement, ...}}.

local time = prune(KEYS[1], KEYS[2])
return {time[1], time[2], epoch_of(KEYS[3], ARGV[1]), redis.call('HGETALL', KEYS[1])}

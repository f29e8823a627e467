-- Messages that are to be sent now; whoever asks has them for a while.
-- KEYS  records  due
-- ARGV  lease_ms  most
-- Gives {{errand, created, state, attempts, ended, end, told, 0, tries}, ...}.

local now, found = clock(), {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, ARGV[2])) do
    local one = record(KEYS[1], id)
    if one[1] then
        one[8] = 0
        one[9] = redis.call('HINCRBY', KEYS[1], id .. '/tries', 1)
        found[#found + 1] = one
        redis.call('ZADD', KEYS[2], now + tonumber(ARGV[1]), id)
    else
        redis.call('ZREM', KEYS[2], id)
    end
end
return found

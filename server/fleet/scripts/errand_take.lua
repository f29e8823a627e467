-- Give the oldest errands that nobody runs to a process.
-- KEYS  records  open
-- ARGV  owner  lease_ms  most
-- Gives {{id, errand, milliseconds since its creation, attempts}, ...}.

local now, taken = clock(), {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, ARGV[3])) do
    local errand = redis.call('HGET', KEYS[1], id .. '/errand')
    if errand then
        redis.call('HSET', KEYS[1], id .. '/state', 'running', id .. '/owner', ARGV[1])
        redis.call('ZADD', KEYS[2], now + tonumber(ARGV[2]), id)
        local age = now - redis.call('HGET', KEYS[1], id .. '/created')
        taken[#taken + 1] = {id, errand, age, redis.call('HINCRBY', KEYS[1], id .. '/attempts', 1)}
    else
        redis.call('ZREM', KEYS[2], id)
    end
end
return taken

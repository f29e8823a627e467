-- A process goes on with errands; with a lease of 0 it leaves them to others.
-- KEYS  records  open
-- ARGV  owner  lease_ms  id ...
-- Gives the ids that are not the process's any more.

local now, lost = clock(), {}
for i = 3, #ARGV do
    local id = ARGV[i]
    local state, owner = unpack(redis.call('HMGET', KEYS[1], id .. '/state', id .. '/owner'))
    if state ~= 'running' or owner ~= ARGV[1] then
        lost[#lost + 1] = id
    elseif ARGV[2] ~= '0' then
        redis.call('ZADD', KEYS[2], 'XX', now + tonumber(ARGV[2]), id)
    else
        redis.call('HSET', KEYS[1], id .. '/state', 'queued')
        redis.call('HINCRBY', KEYS[1], id .. '/attempts', -1)
        redis.call('ZADD', KEYS[2], 'XX', redis.call('HGET', KEYS[1], id .. '/created'), id)
    end
end
return lost

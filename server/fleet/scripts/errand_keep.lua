-- A process goes on with errands.
-- KEYS  records  open
-- ARGV  owner  lease_ms  id ...
-- Gives the ids that are not the process's any more.

local now, lost = clock(), {}
for i = 3, #ARGV do
    local id = ARGV[i]
    local state, owner = unpack(redis.call('HMGET', KEYS[1], id .. '/state', id .. '/owner'))
    if state == 'running' and owner == ARGV[1] then
        redis.call('ZADD', KEYS[2], 'XX', now + tonumber(ARGV[2]), id)
    else
        lost[#lost + 1] = id
    end
end
return lost

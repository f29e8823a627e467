-- A process leaves errands to whoever comes, as if it had not begun them.
-- KEYS  records  open
-- ARGV  owner  wait_ms  id ...
-- Nobody takes them for wait_ms; with 0 they are as old as they were.

local now = clock()
for i = 3, #ARGV do
    local id = ARGV[i]
    local state, owner, created = unpack(redis.call('HMGET', KEYS[1], id .. '/state', id .. '/owner', id .. '/created'))
    if state == 'running' and owner == ARGV[1] then
        redis.call('HSET', KEYS[1], id .. '/state', 'queued')
        redis.call('HINCRBY', KEYS[1], id .. '/attempts', -1)
        redis.call('ZADD', KEYS[2], 'XX', ARGV[2] == '0' and created or now + tonumber(ARGV[2]), id)
    end
end
return 1

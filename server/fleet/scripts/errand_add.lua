-- Take an errand in.
-- KEYS  records  open  over  due
-- ARGV  id  client  errand  most_open  most_of_one  life_ms
-- Gives 1; 0 if there are too many, -1 if the client has too many.
--
-- An errand ID has the fields ID/errand, ID/created, ID/state, ID/owner, ID/attempts, ID/ended, ID/end, ID/told, ID/tries.
-- How many of a client are not over stands under #CLIENT.

local own = '#' .. ARGV[2]
if redis.call('ZCARD', KEYS[2]) >= tonumber(ARGV[4]) then
    return 0
end
if tonumber(redis.call('HGET', KEYS[1], own) or 0) >= tonumber(ARGV[5]) then
    return -1
end
local id, now = ARGV[1], clock()
redis.call('HSET', KEYS[1], id .. '/errand', ARGV[3], id .. '/created', now, id .. '/state', 'queued')
redis.call('HINCRBY', KEYS[1], own, 1)
-- By the millisecond from which it may be taken: of a queued one the past, so that the oldest goes first.
redis.call('ZADD', KEYS[2], now, id)
-- All live as long as each other: fields whose id is in no set any more would stay.
for i = 1, 4 do
    extend(KEYS[i], tonumber(ARGV[6]))
end
return 1

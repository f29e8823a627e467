-- Take an errand in.
-- KEYS  records  open  over  due
-- ARGV  id  errand  most_open  life_ms
-- Gives 1, or 0 if there are too many.
--
-- An errand ID has the fields ID/errand, ID/created, ID/state, ID/owner, ID/attempts, ID/ended, ID/end, ID/told, ID/tries.

if redis.call('ZCARD', KEYS[2]) >= tonumber(ARGV[3]) then
    return 0
end
local id, now = ARGV[1], clock()
redis.call('HSET', KEYS[1], id .. '/errand', ARGV[2], id .. '/created', now, id .. '/state', 'queued')
-- By the millisecond from which it may be taken: of a queued one the past, so that the oldest goes first.
redis.call('ZADD', KEYS[2], now, id)
-- All live as long as each other: fields whose id is in no set any more would stay.
for i = 1, 4 do
    extend(KEYS[i], tonumber(ARGV[4]))
end
return 1

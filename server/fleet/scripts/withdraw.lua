-- Take an entry back that no agent has; of one that an agent has, tell which.
-- KEYS  work  other  load
-- ARGV  class  id  row_steps  size  forced
-- Gives {'removed'}, {'held', agent, idle milliseconds}, or {'gone'} if it is over. forced 1: take it from its agent too.

local found = holder(KEYS[1], ARGV[2])
if found and ARGV[5] ~= '1' then
    return {'held', found[2], found[3]}
end
if found then
    redis.call('XACK', KEYS[1], GROUP, ARGV[2])
end
if redis.call('XDEL', KEYS[1], ARGV[2]) == 0 then
    return {'gone'}
end
release(KEYS[1], KEYS[2], KEYS[3], ARGV[1], ARGV[3], ARGV[4])
return {'removed'}

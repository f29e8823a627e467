-- What became of a message.
-- KEYS  records  due
-- ARGV  id  told  again_ms (-1: never)

if redis.call('HEXISTS', KEYS[1], ARGV[1] .. '/errand') == 0 or ARGV[3] == '-1' then
    redis.call('ZREM', KEYS[2], ARGV[1])
else
    redis.call('ZADD', KEYS[2], 'XX', clock() + tonumber(ARGV[3]), ARGV[1])
end
if redis.call('HEXISTS', KEYS[1], ARGV[1] .. '/errand') == 1 then
    redis.call('HSET', KEYS[1], ARGV[1] .. '/told', ARGV[2])
end
return 1

-- End an entry that was delivered, once: whoever comes first acknowledges it, and only that one's answer goes out.
-- KEYS  work  other  load  reply  dead
-- ARGV  class  id  row_steps  size  reply_life_ms  replies  dead_life_ms  field value ... (replies of them)  field value ...
-- The first fields go to the API process that asked; none of them: nobody is told. The others go to the dead letters.
-- Gives 1, or 0 if it was over already.

if redis.call('XACK', KEYS[1], GROUP, ARGV[2]) == 0 then
    return 0
end
redis.call('XDEL', KEYS[1], ARGV[2])
local load = release(KEYS[1], KEYS[2], KEYS[3], ARGV[1], ARGV[3], ARGV[4])
local last = 7 + 2 * ARGV[6]
if last > 7 then
    local told = table.concat(load, ' ')
    redis.call('XADD', KEYS[4], 'MAXLEN', '~', 100000, '*', 'load', told, unpack(ARGV, 8, last))
    redis.call('PEXPIRE', KEYS[4], ARGV[5])
end
if #ARGV > last then
    redis.call('XADD', KEYS[5], 'MAXLEN', '~', 1000, '*', unpack(ARGV, last + 1))
    redis.call('PEXPIRE', KEYS[5], ARGV[7])
end
return 1

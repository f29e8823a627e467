-- An errand as it stands.
-- KEYS  records  open  over
-- ARGV  id
-- Gives nil, or {errand, created, state, attempts, ended, end, told, how many are before it}.

local id = ARGV[1]
local found = record(KEYS[1], id)
local til = found[5] and tonumber(redis.call('ZSCORE', KEYS[3], id) or 0)
if til and til <= clock() then
    return false
end
found[8] = redis.call('ZRANK', KEYS[2], id) or 0
return found[1] and found or false

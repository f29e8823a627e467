-- Begin under a name, unless somebody else has.
-- KEYS  shelf  order
-- ARGV  name  request  token  lease_ms  life_ms  budget
-- Gives {'mine'}, {'running'}, {'other'} for another request, or {'kept', answer}.
--
-- A value is the request (32 characters) and R, the token (32), the millisecond until which it is taken; or D, the answer.

local now = clock()
local value = shelf_get(KEYS[1], KEYS[2], ARGV[1], now)
if value then
    if value:sub(1, 32) ~= ARGV[2] then
        return {'other'}
    end
    if value:sub(33, 33) == 'D' then
        return {'kept', value:sub(34)}
    end
    if value:sub(34, 65) ~= ARGV[3] and tonumber(value:sub(66)) > now then
        return {'running'}
    end
end
local taken = string.format('%sR%s%.0f', ARGV[2], ARGV[3], now + tonumber(ARGV[4]))
shelf_put(KEYS[1], KEYS[2], ARGV[1], taken, tonumber(ARGV[5]), tonumber(ARGV[6]), now)
return {'mine'}

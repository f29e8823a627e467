-- What was begun under a name is over: keep its answer, or leave the name to others.
-- KEYS  shelf  order
-- ARGV  name  request  token  life_ms  budget  answer ('': none)
-- Gives 1, or 0 if somebody else has the name.

local now = clock()
local value = shelf_get(KEYS[1], KEYS[2], ARGV[1], now)
if value and (value:sub(33, 33) ~= 'R' or value:sub(34, 65) ~= ARGV[3]) then
    return 0
end
local answer = ARGV[2] .. 'D' .. ARGV[6]
if ARGV[6] == '' or shelf_put(KEYS[1], KEYS[2], ARGV[1], answer, tonumber(ARGV[4]), tonumber(ARGV[5]), now) == 0 then
    shelf_drop(KEYS[1], KEYS[2], ARGV[1])
end
return 1

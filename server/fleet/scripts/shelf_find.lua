-- The first of some names that is on a shelf, which is then kept for so much longer, if that is not 0.
-- KEYS  shelf  order
-- ARGV  life_ms  name ...
-- Gives {place among the names, value}, or nil.

local now = clock()
for i = 2, #ARGV do
    local value = shelf_get(KEYS[1], KEYS[2], ARGV[i], now)
    if value then
        if ARGV[1] ~= '0' then
            -- Where memory is full Redis refuses this, and the value is given all the same.
            redis.pcall('ZADD', KEYS[2], 'XX', now + tonumber(ARGV[1]), ARGV[i])
            extend(KEYS[1], tonumber(ARGV[1]))
            extend(KEYS[2], tonumber(ARGV[1]))
        end
        return {i - 2, value}
    end
end
return false

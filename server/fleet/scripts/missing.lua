-- Which entries are in a stream no more.
-- KEYS  work
-- ARGV  id ...
-- Gives their ids.

local missing = {}
for _, id in ipairs(ARGV) do
    if #redis.call('XRANGE', KEYS[1], id, id) == 0 then
        missing[#missing + 1] = id
    end
end
return missing

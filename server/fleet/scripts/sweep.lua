-- Forget consumers that are gone and hold nothing.
-- KEYS  work
-- ARGV  idle_ms  agent
-- Those idle for so long; with an agent's name, that one alone. Gives how many.

local swept = 0
local consumers = redis.pcall('XINFO', 'CONSUMERS', KEYS[1], GROUP)
if consumers.err then
    return 0
end
for _, consumer in ipairs(consumers) do
    local told = {}
    for i = 1, #consumer, 2 do
        told[consumer[i]] = consumer[i + 1]
    end
    local meant = not ARGV[2] or told.name == ARGV[2]
    if meant and told.pending == 0 and told.idle >= tonumber(ARGV[1]) then
        redis.call('XGROUP', 'DELCONSUMER', KEYS[1], GROUP, told.name)
        swept = swept + 1
    end
end
return swept

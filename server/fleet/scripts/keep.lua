-- An agent lives and works on its entries: nobody else takes them for a while. Those that somebody took before stay his.
-- KEYS  work
-- ARGV  agent  idle_ms  id ...
-- idle_ms 0: from now on. More: as if they had been left for so long, so that others take them at once.
-- Gives the ids that are not the agent's any more.

local lost = {}
for i = 3, #ARGV do
    local found = holder(KEYS[1], ARGV[i])
    if not found or found[2] ~= ARGV[1] then
        lost[#lost + 1] = ARGV[i]
    elseif ARGV[2] == '0' then
        redis.call('XCLAIM', KEYS[1], GROUP, ARGV[1], 0, ARGV[i], 'JUSTID')
    else
        -- Who takes it counts one delivery more; this one was none of the job's fault.
        local times = math.max(0, found[4] - 1)
        redis.call('XCLAIM', KEYS[1], GROUP, ARGV[1], 0, ARGV[i], 'IDLE', ARGV[2], 'RETRYCOUNT', times, 'JUSTID')
    end
end
return lost

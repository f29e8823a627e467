-- What waits and runs of one engine.
-- KEYS  work (interactive)  work (batch)  load
-- Gives {requests, interactive, batch, bytes, requests with an agent}.

local requests, taken = 0, 0
for i = 1, 2 do
    requests = requests + redis.call('XLEN', KEYS[i])
    local pending = redis.pcall('XPENDING', KEYS[i], GROUP)
    taken = taken + (not pending.err and pending[1] or 0)
end
local interactive, batch, bytes = held(requests, KEYS[3])
return {requests, interactive, batch, bytes, taken}

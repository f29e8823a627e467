-- Let one job in, or say what is in its way. One script, so that no two API processes fill the same room.
-- KEYS  work  other  load
-- ARGV  class  row_steps  size  most_requests  most_row_steps  most_bytes  most_ahead  life_ms  forced  field value ...
-- Gives {id, requests, interactive, batch, bytes} as they are then; id is nil for a job that is refused.
-- life_ms: how long the keys shall live for its sake. Agents that are there give them ten minutes every second.
-- most_ahead: row-steps that may run before it, by its deadline. forced 1: it was admitted before and got lost.

local class, row_steps, size = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local life = tonumber(ARGV[8])
local requests = redis.call('XLEN', KEYS[1]) + redis.call('XLEN', KEYS[2])
local interactive, batch, bytes = held(requests, KEYS[3])

local full = requests > 0 and (
    requests + 1 > tonumber(ARGV[4])
    or interactive + batch + row_steps > tonumber(ARGV[5])
    or bytes + size > tonumber(ARGV[6])
)
local ahead = class == 'batch' and interactive + batch or interactive
if ARGV[9] ~= '1' and (full or ahead > tonumber(ARGV[7])) then
    return {false, requests, interactive, batch, bytes}
end

-- The first thing written: where memory is full Redis refuses it here, and nothing has changed.
local id = redis.call('XADD', KEYS[1], '*', unpack(ARGV, 10))
if requests == 0 then
    redis.call('DEL', KEYS[3])
end
redis.call('HINCRBY', KEYS[3], class, row_steps)
redis.call('HINCRBY', KEYS[3], 'bytes', size)
if requests == 0 or life > 900000 then
    for _, key in ipairs(KEYS) do
        extend(key, life)
    end
end
if class == 'batch' then
    batch = batch + row_steps
else
    interactive = interactive + row_steps
end
return {id, requests + 1, interactive, batch, bytes + size}

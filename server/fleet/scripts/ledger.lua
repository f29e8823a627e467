-- Stands before every other script: the parts that several have.

local GROUP = 'workers'

-- Row-steps and bytes that the entries of both classes ask for. No entries: nothing, whatever was counted.
local function held(requests, load)
    if requests == 0 then
        return 0, 0, 0
    end
    local found = redis.call('HMGET', load, 'interactive', 'batch', 'bytes')
    return tonumber(found[1] or 0), tonumber(found[2] or 0), tonumber(found[3] or 0)
end

-- An entry is deleted: take it off the load. The last one takes all, so that nothing can stay counted for ever.
-- Gives {requests, interactive, batch, bytes} as they are then.
local function release(work, other, load, class, row_steps, size)
    local requests = redis.call('XLEN', work) + redis.call('XLEN', other)
    if requests == 0 then
        redis.call('DEL', load)
        return {0, 0, 0, 0}
    end
    local own = redis.call('HINCRBY', load, class, 0 - row_steps) -- not -row_steps: Lua writes -0
    local bytes = redis.call('HINCRBY', load, 'bytes', 0 - size)
    if class == 'batch' then
        return {requests, tonumber(redis.call('HGET', load, 'interactive') or 0), own, bytes}
    end
    return {requests, own, tonumber(redis.call('HGET', load, 'batch') or 0), bytes}
end

-- A key lives for so many milliseconds from now, or longer if it does already.
local function extend(key, life)
    if redis.call('PTTL', key) < life then
        redis.call('PEXPIRE', key, life)
    end
end

-- Who holds an entry: {id, agent, idle milliseconds, deliveries}; nil if nobody does.
local function holder(work, id)
    local pending = redis.pcall('XPENDING', work, GROUP, id, id, 1)
    return not pending.err and pending[1] or nil
end

-- Forget announcements that were not renewed. Writes in any case, and nothing that Redis refuses when its memory is
-- full: what the same script writes after that goes through too.
local function prune(agents, til)
    local time = redis.call('TIME')
    local now = time[1] * 1000 + math.floor(time[2] / 1000)
    for _, gone in ipairs(redis.call('ZRANGEBYSCORE', til, '-inf', now)) do
        redis.call('HDEL', agents, gone)
    end
    redis.call('ZREMRANGEBYSCORE', til, '-inf', now)
    return time, now
end

-- The name of this memory of Redis; a new one where it has none.
local function epoch_of(key, candidate)
    local epoch = redis.call('GET', key)
    if not epoch then
        redis.call('SET', key, candidate)
        epoch = candidate
    end
    return epoch
end

-- A shelf: a hash of values, and their names by the millisecond until which each is kept. What all of them take stands
-- in the hash under '', and never stays above the budget.
local BESIDE = 128 -- bytes that a name takes beside its value

local function shelf_drop(shelf, order, name)
    local size = redis.call('HSTRLEN', shelf, name)
    if redis.call('HDEL', shelf, name) == 1 then
        redis.call('HINCRBY', shelf, '', 0 - size - BESIDE)
    end
    redis.call('ZREM', order, name)
end

-- Away with what is over (some at a time), and with what would be over first until the rest fits into `room`.
local function shelf_trim(shelf, order, now, room)
    for _, name in ipairs(redis.call('ZRANGEBYSCORE', order, '-inf', now, 'LIMIT', 0, 100)) do
        shelf_drop(shelf, order, name)
    end
    while tonumber(redis.call('HGET', shelf, '') or 0) > room do
        local first = redis.call('ZRANGE', order, 0, 0)[1]
        if not first then
            redis.call('DEL', shelf)
            return
        end
        shelf_drop(shelf, order, first)
    end
end

-- Gives 1, or 0 for a value that would take more than a quarter of all room.
local function shelf_put(shelf, order, name, value, life, budget, now)
    if 4 * (#value + BESIDE) > budget then
        return 0
    end
    local before = redis.call('HEXISTS', shelf, name) == 1 and redis.call('HSTRLEN', shelf, name) + BESIDE or 0
    redis.call('HSET', shelf, name, value) -- the first thing written: a full memory refuses it here
    redis.call('HINCRBY', shelf, '', #value + BESIDE - before)
    redis.call('ZADD', order, now + life, name)
    extend(shelf, life)
    extend(order, life)
    shelf_trim(shelf, order, now, budget)
    return 1
end

local function shelf_get(shelf, order, name, now)
    local til = redis.call('ZSCORE', order, name)
    return til and tonumber(til) > now and redis.call('HGET', shelf, name) or nil
end

-- Milliseconds of Redis' clock.
local function clock()
    local time = redis.call('TIME')
    return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- An errand: {errand, created, state, attempts, ended, end, told}, each false if it has none.
local function record(records, id)
    local names = {'errand', 'created', 'state', 'attempts', 'ended', 'end', 'told'}
    for i, name in ipairs(names) do
        names[i] = id .. '/' .. name
    end
    return redis.call('HMGET', records, unpack(names))
end

local function forget(records, over, due, id)
    for _, name in ipairs({'errand', 'created', 'state', 'owner', 'attempts', 'ended', 'end', 'told', 'tries'}) do
        redis.call('HDEL', records, id .. '/' .. name)
    end
    redis.call('ZREM', over, id)
    redis.call('ZREM', due, id)
end

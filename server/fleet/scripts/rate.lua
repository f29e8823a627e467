-- Let a request of a client pass by all rates, or say how long until one would.
-- KEYS  windows  used
-- ARGV  client  most_clients  amount expiry_ms (of each rate) ...
-- Gives 0, or the milliseconds to wait; a request that is refused counts for nothing.
--
-- Of each rate the last requests are kept as {latest millisecond, how many}, those of a hundredth of the window in one:
-- so a client takes little, and they leave the window together, when the latest does. No window has more than the rate.

local now = clock()
local kept = redis.call('HGET', KEYS[1], ARGV[1])
local rates = kept and cmsgpack.unpack(kept) or {}
local wait, longest = 0, 0
for i = 3, #ARGV, 2 do
    local amount, expiry = tonumber(ARGV[i]), tonumber(ARGV[i + 1])
    local runs, count = {}, 0
    for _, run in ipairs(rates[(i - 1) / 2] or {}) do
        -- One of the future: Redis' clock was set back.
        if run[1] > now - expiry and run[1] <= now + 1000 then
            runs[#runs + 1] = run
            count = count + run[2]
        end
    end
    if count + 1 > amount then
        wait = math.max(wait, runs[1][1] + expiry - now)
    end
    local last, grain = runs[#runs], math.max(1, math.floor(expiry / 100))
    if last and math.floor(last[1] / grain) == math.floor(now / grain) then
        last[1], last[2] = now, last[2] + 1
    else
        runs[#runs + 1] = {now, 1}
    end
    rates[(i - 1) / 2] = runs
    longest = math.max(longest, expiry)
end
if wait > 0 then
    return wait
end
redis.call('HSET', KEYS[1], ARGV[1], cmsgpack.pack(rates))
redis.call('ZADD', KEYS[2], now, ARGV[1])
extend(KEYS[1], longest)
extend(KEYS[2], longest)
-- Forgotten: those that have no request in any window any more, and beyond the bound who was quiet for longest.
local gone = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now - longest, 'LIMIT', 0, 100)
local over = redis.call('ZCARD', KEYS[2]) - #gone - tonumber(ARGV[2])
if over > 0 then
    gone = redis.call('ZRANGE', KEYS[2], 0, #gone + math.min(over, 100) - 1)
end
for _, client in ipairs(gone) do
    redis.call('HDEL', KEYS[1], client)
    redis.call('ZREM', KEYS[2], client)
end
return 0

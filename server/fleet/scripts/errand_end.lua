-- Write down how an errand ended; whoever comes first does.
-- KEYS  records  open  over  due  shelf  order
-- ARGV  id  owner ('': whoever has it)  state  end  result ('': none)  ttl_ms  budget  most_over  life_ms
-- Gives 1, or 0 if it was over already or somebody else has it.

local id, now, ttl = ARGV[1], clock(), tonumber(ARGV[6])
local state, owner = unpack(redis.call('HMGET', KEYS[1], id .. '/state', id .. '/owner'))
if (state ~= 'queued' and state ~= 'running') or (ARGV[2] ~= '' and owner ~= ARGV[2]) then
    return 0
end
if ARGV[5] ~= '' then
    shelf_put(KEYS[5], KEYS[6], id, ARGV[5], ttl, tonumber(ARGV[7]), now)
end
redis.call('HSET', KEYS[1], id .. '/state', ARGV[3], id .. '/end', ARGV[4], id .. '/ended', now)
redis.call('ZREM', KEYS[2], id)
local errand = cjson.decode(redis.call('HGET', KEYS[1], id .. '/errand'))
if redis.call('HINCRBY', KEYS[1], '#' .. errand.client, -1) <= 0 then
    redis.call('HDEL', KEYS[1], '#' .. errand.client)
end
redis.call('ZADD', KEYS[3], now + ttl, id)
if errand.webhook ~= cjson.null then
    redis.call('HSET', KEYS[1], id .. '/told', 'waiting')
    redis.call('ZADD', KEYS[4], now, id)
end
for i = 1, 4 do
    extend(KEYS[i], tonumber(ARGV[9]))
end
-- Forgotten: what has expired, and the oldest of what is too much.
local gone = redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', now, 'LIMIT', 0, 100)
local over = redis.call('ZCARD', KEYS[3]) - #gone - tonumber(ARGV[8])
if over > 0 then
    gone = redis.call('ZRANGE', KEYS[3], 0, #gone + math.min(over, 100) - 1)
end
for _, other in ipairs(gone) do
    forget(KEYS[1], KEYS[3], KEYS[4], other)
end
return 1

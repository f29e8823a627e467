-- Make a shelf as small as it has to be now.
-- KEYS  shelf  order
-- ARGV  budget
-- Gives the bytes that are left on it.

shelf_trim(KEYS[1], KEYS[2], clock(), tonumber(ARGV[1]))
return tonumber(redis.call('HGET', KEYS[1], '') or 0)

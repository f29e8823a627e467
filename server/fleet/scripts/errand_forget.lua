-- Keep no more of an errand that is over.
-- KEYS  records  over  due  shelf  order
-- ARGV  id

if redis.call('ZSCORE', KEYS[2], ARGV[1]) then
    forget(KEYS[1], KEYS[2], KEYS[3], ARGV[1])
    shelf_drop(KEYS[4], KEYS[5], ARGV[1])
end
return 1

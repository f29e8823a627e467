-- Show the API process what a job is heading for; the job goes on.
-- KEYS  reply
-- ARGV  reply_life_ms  field value ...

redis.call('XADD', KEYS[1], 'MAXLEN', '~', 100000, '*', unpack(ARGV, 2))
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 1

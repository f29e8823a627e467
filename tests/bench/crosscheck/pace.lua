-- wrk at a constant rate: its connections take turns at slots that lie evenly in time. One thread (-t1).
-- Environment: RATE (requests per second), TARGET (path), SEED (of the first image). The last line printed is JSON.
local ffi = require("ffi")
ffi.cdef [[
typedef struct { long sec; long nsec; } pace_time;
int clock_gettime(int clock, pace_time *time);
]]

local gap = 1 / tonumber(os.getenv("RATE"))
local target = os.getenv("TARGET")
local seed = tonumber(os.getenv("SEED"))
local clock = ffi.new("pace_time")
local slot

local function now()
  ffi.C.clock_gettime(1, clock)
  return tonumber(clock.sec) + tonumber(clock.nsec) * 1e-9
end

-- Milliseconds until the next free slot. wrk waits whole ones, so requests go out up to 1 ms late, which its latency,
-- counted from the sending, does not hold.
function delay()
  slot = (slot or now()) + gap
  return math.max(0, math.floor((slot - now()) * 1000 + 0.5))
end

function request()
  seed = seed + 1
  return wrk.format("POST", target .. "&seed=" .. seed, { ["Cache-Control"] = "no-store" })
end

function done(summary, latency)
  local e = summary.errors
  print(string.format(
    '{"count": %d, "seconds": %.3f, "p50": %.6f, "p99": %.6f, "failed": %d}',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e6, latency:percentile(99) / 1e6,
    e.connect + e.read + e.write + e.status + e.timeout))
end

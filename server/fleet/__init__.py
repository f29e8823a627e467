"""Many machines: API processes (`longjump serve --redis URL`) and workers (`longjump worker --redis URL BUNDLE`).

A Redis joins them. This is the only room that imports redis, and nothing imports it without `--redis`.

    HTTP -> Desk -> FleetLine -> InFlight -> [admit: work stream] -> Puller -> Hold -> Line (backend) -> worker process
                                    ^                                            |
                                    +------ [reply stream of that process] <- Outbox [finish]

What both sides share
    arguments    the flags: which Redis, how to be let in, which fleet
    where        what they say of the Redis, checked, as redis-py's options
    connection   a channel to Redis with timeouts of our own; whether Redis is there; pauses between attempts
    pipe         commands of many over one channel, in one round trip where they come together
    keys         every key by name, and what lies under it
    scripts      the Lua that must happen whole or not at all (`scripts/*.lua`; ledger.lua stands before each)
    codec        jobs and answers as stream fields, which older and newer versions read
    parcel       values with blobs as one string, with a version
    clock        Redis' time, in which deadlines travel
    roster       what agents announce

The API process
    lines        who is there, looked at every second; `Lines` as the HTTP side knows them (`server.backend.roads`)
    line         one engine: its agents, what waits for them, admission by `server.schedule.admission`
    inflight     who waits for which job; late, lost and unwanted ones
    entries      jobs' entries in Redis: added, taken back, looked for
    replies      the answers that come back
    commons      what API processes share beside the work, each part bounded:
    shared_cache answers of any of them, for all
    answers      answers by Idempotency-Key
    errands      the jobs of POST /jobs
    rates        how often a client may ask, counted once

The worker
    command      `longjump worker`
    agent        joins local lines to the fleet: announces, keeps what is held alive, obeys cancellations, drains
    pull         new entries, as there is room; entries of agents that are gone
    hold         the entries that are here, from delivery to their end
    outbox       ends and parts on their way to Redis, until it has them

What holds: an entry stays in its stream until somebody ends it, and whoever ends it takes it off the load in the same
script, once. An agent that says nothing for its lease loses its entries to others. Nothing is locked; whatever is there
for a process expires with it. docs/fleet.md tells the whole.
"""

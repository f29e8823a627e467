"""Work that outlives its connection: `POST /jobs` takes it, whoever asks later gets what became of it.

An errand is what HTTP calls a job (a `server.jobs.Job` is what a worker is given for it).

    errand       what was asked, and what became of it
    store        where errands are kept: in memory here, in Redis for a fleet (`server.fleet.errands`)
    runner       takes errands out of the store, asks the desk for them, writes down how they end
    webhook      which hosts may be told, how a message is signed, how it is sent
    courier      tells those who want to be told, again until they have heard
    office       the three together, for one process
    tally        what is counted, for /metrics
    endpoints    /jobs and what is under it
    docs         the same for the OpenAPI document
    flags        the command line's part

Any process that shares a store may run an errand and answer for it. One that gives no sign of life loses its errands to
others; the first to write an end down wins. Errands wait in the store and not in the queue of a line: the runner asks
for a few at a time, and again when a line has no room, until their deadline.
"""

"""The server: HTTP in one process, engines in supervised worker processes, row-steps shared by all requests.

`serve` starts both. The API process (`http`, `backend`) parses, admits and answers; a worker process (`worker`) owns
an engine; `schedule` decides, for both of them and for the simulator; `jobs` and `wire` are what passes between
them; `observe` is what operators see. `errands` are jobs that outlive a connection, `fleet` is Redis between machines,
`playground` the pages for people; `application` puts all that answers together. No two of these import each other, and
nothing here imports torch.
"""

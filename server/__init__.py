"""The server: HTTP in one process, engines in supervised worker processes, row-steps shared by all requests.

`serve` starts both. The API process (`http`, `backend`) parses, admits and answers; a worker process (`worker`) owns
an engine; `schedule` decides, for both of them and for the simulator; `jobs` and `wire` are what passes between
them; `observe` is what operators see. Nothing here imports torch.
"""

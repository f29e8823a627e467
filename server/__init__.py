"""The server: HTTP in one process, the engine in a supervised worker process, row-steps shared by all requests.

`serve` starts both. The API process (`api`, `generate`, `ask`, `reply`, `dispatch`) parses, admits and answers; the
worker process (`worker`, `ticks`, `policy`, `imaging`) owns the engine; `wire` is what passes between them. Nothing
here imports torch.
"""

"""From `longjump serve` to ready, with the parts that the server tells of."""

from __future__ import annotations

import json

from server.bench.client import Connection
from server.bench.figures import Target, median
from server.bench.setup import Setup

PARTS = {
    "process": "worker: its Python",
    "imports": "worker: imports",
    "bundle": "worker: read and verify the bundle",
    "engine": "worker: load the engine",
    "warm": "worker: first call",
    "http": "meanwhile, the API process",
}
"""What /readyz says about the start, in order."""

LIMIT = 0.9


def measure(setup: Setup) -> list[Target]:
    """Launch it several times, one after another."""
    launches: list[dict[str, float]] = []
    for _ in range(setup.launches):
        with setup.ours.start() as server:
            connection = Connection(server.address)
            _, _, body = connection.ask(b"GET /readyz HTTP/1.1\r\nhost: bench\r\n\r\n")
            connection.close()
        [parts] = json.loads(body)["startup_seconds"].values()
        launches.append({"launch to ready": server.seconds, **{PARTS[name]: parts[name] for name in PARTS}})
    print(f"launch to ready, {len(launches)} launches: median (least to most)")
    for name in launches[0]:
        values = [launch[name] for launch in launches]
        print(f"  {name:<36}{median(values):7.3f} s  ({min(values):.3f} to {max(values):.3f})")
    return [Target("launch to ready, median", median([one["launch to ready"] for one in launches]), LIMIT, "s")]

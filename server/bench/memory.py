"""Proportional memory (PSS) of all processes of one server with one worker, after some work."""

from __future__ import annotations

from server.bench.arrivals import endless
from server.bench.client import Load
from server.bench.figures import Target
from server.bench.processes import pss
from server.bench.setup import CONNECTIONS, Setup

LIMIT = 220.0


def measure(setup: Setup) -> list[Target]:
    """One server, after a stretch of mixed load.

    The bench itself loads no library that the server does, and its raw engines have ended: nothing is shared away.
    """
    contender = setup.with_workers(1)
    with contender.start() as server:
        with Load(server.address, CONNECTIONS) as load:
            answers = load.closed_loop(endless(setup.mix, contender.write_patient, setup.rng()), setup.seconds)
        sizes = [pss(pid) / 2**20 for pid in server.processes]
    weights = sum(file.stat().st_size for file in setup.bundle.glob("*.onnx")) / 2**20
    first, *others = sizes
    workers = ", ".join(f"{size:.0f}" for size in others)
    print(f"memory after {len(answers)} requests: API process {first:.0f} MB, worker {workers} MB")
    return [Target("memory (PSS), one worker", sum(sizes), LIMIT, "MB", beside=f"graphs of {weights:.0f} MB")]

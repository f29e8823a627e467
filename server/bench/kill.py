"""kill -9 of every worker at once, under load: how long until pictures come again, and whether a request is lost."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence

from server.bench.arrivals import draw
from server.bench.client import Answer, Load
from server.bench.contenders import Running
from server.bench.figures import Target
from server.bench.setup import CONNECTIONS, Setup

LIMIT = 2.0
TIMES = 3
AT = 0.5
EVERY = 0.05
SECONDS = 4.0
"""One kill: requests EVERY so many seconds for SECONDS, the kill AT."""


def measure(setup: Setup) -> list[Target]:
    """Several kills of one server's workers, one after another."""
    contender = setup.ours
    gaps, lost = [], 0
    with contender.start() as server:
        for number in range(TIMES):
            times = (i * EVERY for i in range(round(SECONDS / EVERY)))
            asks = list(draw(times, setup.few, contender.write_patient, setup.rng(), first_seed=number * 10**6))
            killed: list[float] = []
            with Load(server.address, CONNECTIONS) as load:
                begin = time.perf_counter()
                kill = (AT, lambda begin=begin, killed=killed: _kill(server, begin, killed))
                answers = load.open_loop(asks, grace=10.0, events=[kill])
            gaps.append(gap(answers, killed[0]))
            lost += sum(answer.status != 200 for answer in answers)
    shown = ", ".join(f"{one:.2f}" for one in gaps)
    print(f"kill -9 of all {setup.workers} workers, {TIMES} times: {shown} s to the next answer; {lost} requests lost")
    return [
        Target("kill -9 to the next answer, worst", max(gaps), LIMIT, "s", beside=f"{setup.workers} workers at once"),
        Target("requests lost by kill -9", lost, 0),
    ]


def gap(answers: Sequence[Answer], killed: float) -> float:
    """Seconds from `killed` to the first answer to a request that was sent after it. ValueError if none came."""
    return min(answer.done for answer in answers if answer.status == 200 and answer.sent > killed) - killed


def _kill(server: Running, begin: float, killed: list[float]) -> None:
    killed.append(time.perf_counter() - begin)
    for pid in server.processes[1:]:
        os.kill(pid, signal.SIGKILL)

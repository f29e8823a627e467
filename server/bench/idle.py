"""One request at a time, in turn with the floor, so that both see the same machine."""

from __future__ import annotations

import re
import time
from contextlib import closing

from server.bench import floor
from server.bench.client import Address, Connection
from server.bench.contenders import Contender
from server.bench.figures import Target, median
from server.bench.floor import Floor
from server.bench.setup import SETTLE_SECONDS, Setup

LIMIT = 0.8

UNTIMED = 10
"""First pairs, which warm caches on both sides."""

_STAGE = re.compile(rb"(queue|network|decode|encode);dur=([\d.]+)")


def measure(setup: Setup) -> list[Target]:
    """Our server beside the floor; then each peer, beside the floor again."""
    targets = []
    for contender in (setup.ours, *setup.peers):
        with Floor(setup.bundle, setup.threads) as raw, contender.start() as server:
            parts, totals, stages = _in_turn(setup, contender, server.address, raw)
        beyond = 1000 * (median(totals) - parts["total"])
        print(f"idle, {setup.steps[0]} step, {setup.requests} in turn with the floor: medians in ms")
        told = "  ".join(f"{name} {1000 * parts[name]:.2f}" for name in floor.PARTS)
        print(f"  raw floor (one process of {setup.threads} threads)  {1000 * parts['total']:.2f}  =  {told}")
        told = "  ".join(f"{name} {value:.2f}" for name, value in stages.items())
        print(f"  {contender.name:<32} {1000 * median(totals):.2f}  {told}")
        print(f"  beyond the floor                 {beyond:.2f}")
        if contender.name == "longjump":
            beside = f"raw floor {1000 * parts['total']:.2f} ms, over HTTP {1000 * median(totals):.2f} ms"
            targets.append(Target("idle one-step request beyond the floor, median", beyond, LIMIT, "ms", beside=beside))
    return targets


def _in_turn(
    setup: Setup, contender: Contender, address: Address, raw: Floor
) -> tuple[dict[str, float], list[float], dict[str, float]]:
    """Medians of the floor's parts (seconds), all times over HTTP (seconds), medians of the stages it tells (ms)."""
    steps = setup.steps[0]
    parts, totals, stages = [], [], []
    with closing(Connection(address)) as connection:
        for number in range(-UNTIMED, setup.requests):
            seed = number + UNTIMED
            time.sleep(SETTLE_SECONDS)
            of_floor = raw.one(seed, steps)
            time.sleep(SETTLE_SECONDS)
            total, head = _timed(connection, contender.write(steps, seed))
            if number >= 0:
                parts.append(of_floor)
                totals.append(total)
                stages.append({name.decode(): float(value) for name, value in _STAGE.findall(head)})
    return floor.medians(parts), totals, {name: median([one[name] for one in stages]) for name in stages[0]}


def latencies(contender: Contender, address: Address, steps: int, count: int) -> list[float]:
    """Seconds of each of `count` requests, one at a time with a pause between."""
    seconds = []
    with closing(Connection(address)) as connection:
        for seed in range(-UNTIMED, count):
            time.sleep(SETTLE_SECONDS)
            total, _ = _timed(connection, contender.write(steps, seed + UNTIMED))
            if seed >= 0:
                seconds.append(total)
    return seconds


def _timed(connection: Connection, data: bytes) -> tuple[float, bytes]:
    start = time.perf_counter()
    status, head, body = connection.ask(data)
    seconds = time.perf_counter() - start
    if status != 200:
        raise OSError(f"an idle server answered {status}: {body[:500].decode(errors='replace')}")
    return seconds, head

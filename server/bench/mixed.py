"""One-step requests among eight-step ones, arriving at random at 70 % of what the server can do of that mixture."""

from __future__ import annotations

import math

from server.bench.arrivals import draw, poisson
from server.bench.client import Answer, Load
from server.bench.contenders import Contender
from server.bench.figures import Target, median, milliseconds, percentile
from server.bench.idle import latencies
from server.bench.setup import CONNECTIONS, Setup
from server.bench.throughput import rate

LOAD = 0.7
LIMITS = (4.0, 3.0)
"""p99 over the idle median, of the fewest steps and of the most."""

LENGTH = 3
"""Stretches of load that the run takes: a p99 of the rarer kind needs many."""

FEWEST = 50
"""Requests that the run is long enough for on average: on a slow server the rarer kind might not come at all."""


def measure(setup: Setup) -> list[Target]:
    """Our server, then each peer with its own capacity."""
    targets = []
    for contender in (setup.ours, *setup.peers):
        found = _measure(setup, contender)
        if contender.name == "longjump":
            targets = found
    return targets


def _measure(setup: Setup, contender: Contender) -> list[Target]:
    with contender.start() as server:
        count = max(5, setup.requests // 2)
        idle = {steps: median(latencies(contender, server.address, steps, count)) for steps, _ in setup.mix}
        capacity = rate(setup, contender, server.address, setup.mix)
        rng = setup.rng()
        offered = LOAD * capacity
        times = poisson(offered, max(LENGTH * setup.seconds, FEWEST / offered), rng)
        asks = list(draw(times, setup.mix, contender.write, rng, first_seed=10**8))
        with Load(server.address, CONNECTIONS) as load:
            answers = load.open_loop(asks, grace=5.0)
    print(f"mixed load on {contender.name}: {LOAD:.0%} of its {capacity:.0f} requests/s of the mixture")
    targets = []
    for (steps, share), limit in zip(setup.mix, LIMITS):
        of_kind = [answer for answer in answers if answer.steps == steps]
        seconds = waits(of_kind)
        good = [one for one in seconds if one < math.inf]
        print(
            f"  {share:.0%} of {steps} steps: idle {1000 * idle[steps]:.1f} ms; {milliseconds(good)}; "
            f"answered {len(good)} of {len(of_kind)}"
        )
        worst = percentile(seconds, 99)
        beside = f"idle median {1000 * idle[steps]:.1f} ms, p99 {1000 * worst:.1f} ms"
        what = f"mixed load: {steps}-step p99 over its idle median"
        targets.append(Target(what, worst / idle[steps], limit, beside=beside))
    return targets


def waits(answers: list[Answer]) -> list[float]:
    """Latencies from the intended sending; infinite for what was not answered with a picture."""
    return [answer.latency if answer.status == 200 else math.inf for answer in answers]

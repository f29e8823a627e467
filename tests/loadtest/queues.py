"""A server that is a queue with one server and known service times (M/D/1), and a sweep over it without a clock."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import cache

from loadtest.sweep.borders import Plan, Point
from loadtest.sweep.policy import Done, Probe, next_probe

Sample = Callable[[int, float | None, float, random.Random], list[float]]
"""(steps, rate, seconds, rng) -> the latency of each request sent, in seconds; infinite: failed."""


def md1(service: Callable[[int], float], noise: float = 0.05, warm_up: float = 1.5) -> Sample:
    """Poisson arrivals at a server that takes `service(steps)` seconds for each, relative noise added.

    What arrives in the first `warm_up` seconds is served before the run, and not counted.
    """

    def sample(steps: int, rate: float | None, seconds: float, rng: random.Random) -> list[float]:
        mean, now, free, latencies = service(steps), -warm_up, -warm_up, []
        while True:
            now = free if rate is None else now + rng.expovariate(rate)
            if now >= seconds:
                return latencies
            free = max(now, free) + mean * max(0.1, rng.gauss(1, noise))
            if now >= 0:
                latencies.append(free - now)

    return sample


@cache
def border_of(sample: Sample, steps: int, deadline: float, share: float = 0.99) -> float:
    """The rate at which `share` of the latencies are within the deadline, from long runs; requests per second."""
    low, high = 0.0, 2000.0
    for _ in range(12):
        rate = (low + high) / 2
        latencies = sample(steps, rate, 8_000 / rate, random.Random(1))
        within = sum(one <= deadline for one in latencies) >= share * len(latencies)
        low, high = (rate, high) if within else (low, rate)
    return low


def point(plan: Plan, probe: Probe, latencies: Sequence[float], valid: bool = True) -> Point:
    """What a run of `probe` that saw these latencies says."""
    good = sorted(one for one in latencies if one < float("inf"))
    within = tuple(sum(one <= deadline for one in good) for deadline in plan.deadlines)
    median = good[len(good) // 2] if good else float("nan")
    return Point(probe.steps, probe.rate, len(latencies), len(good), within, median, valid)


def sweep(plan: Plan, sample: Sample, seed: int = 0, valid: Callable[[Probe], bool] = lambda _: True) -> Swept:
    """Run the policy to its end against `sample`; the clock is the sum of the runs and their overhead."""
    rng, swept = random.Random(seed), Swept()
    while not isinstance(probe := next_probe(plan, swept.points, swept.elapsed), Done):
        swept.probes.append(probe)
        swept.latencies.append(sample(probe.steps, probe.rate, probe.seconds, rng))
        swept.points.append(point(plan, probe, swept.latencies[-1], valid(probe)))
        swept.elapsed += probe.seconds + plan.overhead
    swept.complete = probe.complete
    return swept


class Swept:
    """A sweep that ended."""

    def __init__(self) -> None:
        self.probes: list[Probe] = []
        self.latencies: list[list[float]] = []
        self.points: list[Point] = []
        self.elapsed = 0.0
        self.complete = False

    def of(self, steps: int) -> list[Point]:
        return [point for point in self.points if point.steps == steps]

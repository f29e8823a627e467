"""Results of runs that never were: built from latencies, as a run's result holds them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from loadtest.histogram import describe, encode, recorded
from loadtest.result import (
    Checks,
    Environment,
    Group,
    Lateness,
    Load,
    Run,
    Server,
    StepCount,
    Warmup,
    Window,
)

BLOCKS = 20

MODEL: dict[str, Any] = {"id": "facets-32", "fingerprint": "8d76b9dac9d3ba5b", "steps": [1, 2, 4, 8], "quality": {}}


def run_of(
    latencies: Sequence[float],
    steps: int = 1,
    rate: float | None = 50.0,
    seconds: float = 6.0,
    late: str = "",
    quality: dict[str, Any] | None = None,
    stages: dict[str, float] | None = None,
    interrupted: bool = False,
    different: int = 0,
    promised: bool = True,
) -> Run:
    """A run that sent requests evenly over its window and saw these latencies (seconds; infinite: refused).

    `late` is why the client did not keep its schedule; `stages` are seconds that every good reply spent in each. Of
    every twentieth good reply the bytes were compared, and `different` of those differed.
    """
    sent = np.asarray(latencies, np.float64)
    good = sent[np.isfinite(sent)]
    parts = [part[np.isfinite(part)] for part in np.array_split(sent, BLOCKS)]
    refused = len(sent) - len(good)
    groups = [Group(steps=steps, status="200", latency=describe(good))]
    if refused:
        groups.append(Group(steps=steps, status="429", latency=describe(np.full(refused, 0.002))))
    one = StepCount(
        steps=steps,
        sent=len(sent),
        ok=len(good),
        within_slo=None,
        latency=describe(good),
        service=describe(good),
        blocks=tuple(encode(recorded(part)) for part in parts),
        stages={name: describe(np.full(len(good), value)) for name, value in (stages or {}).items()},
        steps_used={},
        mean_bytes=2000.0,
    )
    return Run(
        environment=Environment(
            command=("loadtest", "run"),
            started="2026-11-24T20:00:00+00:00",
            host_cores=2,
            cpu="a processor",
            platform="Linux",
            python="3.11.2",
            versions={},
        ),
        server=Server(model={**MODEL, "quality": quality or {}}, capacity=None),
        load=Load(
            url="http://127.0.0.1:8000",
            route="generate",
            loop="open" if rate else "closed",
            arrivals="poisson" if rate else None,
            rate=rate,
            cv=None,
            trace=None,
            concurrency=None if rate else 1,
            steps={str(steps): 1.0},
            labels={},
            formats={},
            fields={},
            seed=0,
            timeout=30,
            processes=1,
        ),
        warmup=Warmup(seconds=1.5, asked=1.5, stable=None),
        window=Window(
            seconds=seconds,
            sent=len(sent),
            offered_rate=len(sent) / seconds,
            answered_rate=len(good) / seconds,
            in_flight_start=0,
            in_flight_end=0,
            unfinished=0,
            retried=0,
        ),
        lateness=Lateness(times=describe(np.full(len(sent), 1e-4)), allowed=0.005, valid=not late, why=late),
        groups=tuple(groups),
        steps=(one,),
        goodput=None,
        checks=Checks(
            checked=len(good),
            decoded=len(good),
            wrong=0,
            compared=len(good) // 20,
            different=different,
            same_bytes="yes" if not different else "no" if promised else "not promised",
            examples=(f"steps={steps}, seed=7: other bytes under load than from the idle server",) if different else (),
        ),
        timeline=(),
        interrupted=interrupted,
        aborted="",
        warnings=(),
    )


def gamma(mean: float, count: int, seed: int, dependence: float = 0.0) -> list[float]:
    """Latencies of a mean: gamma-distributed, their logarithms drifting with a correlation time of about a second.

    `dependence` is the size of the drift, relative; `count` is for half a minute.
    """
    rng = np.random.default_rng(seed)
    own = rng.gamma(4.0, mean / 4.0, count)
    memory = math.exp(-30.0 / count)
    drift = np.zeros(count)
    for i in range(1, count):
        drift[i] = memory * drift[i - 1] + math.sqrt(1 - memory**2) * rng.normal()
    return list(own * np.exp(dependence * drift))

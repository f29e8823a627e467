"""Sweeps of queues that never ran: the real mechanism and policy, a clock that jumps, runs built from latencies."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from loadtest.result import Run
from loadtest.settings import Settings
from loadtest.sweep.conduct import conduct
from loadtest.sweep.result import Asked, Sweep
from tests.loadtest.queues import Sample, md1
from tests.loadtest.runs import run_of

STAGES = {"queue": 0.001, "decode": 0.0003, "encode": 0.001}

ASKED = Asked(
    url="http://127.0.0.1:8000",
    steps=(1, 4),
    deadlines=(0.05, 0.1),
    share=0.99,
    budget=150.0,
    resolution=0.25,
    repeats=3,
    samples=300,
    seed=7,
)

SHORT = ASKED.model_copy(update={"budget": 45.0})
"""A sweep that has just begun to climb."""

BASE = Settings(url=ASKED.url, concurrency=1)


def queue(steps: int) -> float:
    """Seconds of service."""
    return 0.003 + 0.003 * steps


class FakeServer:
    """Answers `measure` from a queue, and moves its own clock by what a run would take."""

    def __init__(self, sample: Sample | None = None, on_run: Callable[[int], None] = lambda _: None, **of_run: Any):
        self.sample = sample or md1(queue)
        self.on_run = on_run
        self.of_run = of_run
        self.now = 0.0
        self.asked: list[Settings] = []

    def clock(self) -> float:
        return self.now

    def measure(self, settings: Settings) -> Run:
        self.asked.append(settings)
        self.on_run(len(self.asked))
        assert settings.seconds is not None
        assert settings.warmup is not None
        [steps] = settings.steps
        assert isinstance(steps, int)
        latencies = self.sample(steps, settings.rate, settings.seconds, random.Random(settings.seed))
        self.now += settings.seconds + settings.warmup + 0.2
        stages = {**STAGES, "network": queue(steps)}
        of_run = {key: value(settings) if callable(value) else value for key, value in self.of_run.items()}
        return run_of(latencies or [math.inf], steps, settings.rate, settings.seconds, stages=stages, **of_run)

    def sweep(self, out: Path, asked: Asked = ASKED, before: Sweep | None = None) -> Sweep:
        """Conduct a sweep of it."""
        return conduct(asked, BASE, self.measure, out, ("loadtest", "sweep"), before, lambda _: None, self.clock)

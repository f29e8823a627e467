"""What is measured: a bundle, a split of the cores, and how long and how often."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

from server.bench.arrivals import Mix
from server.bench.contenders import Contender, longjump

SEED = 20261123
"""Of every random draw of a run, so that two runs send the same."""

CONNECTIONS = 48
"""Of a closed loop: enough for three full batches of 16, so that no server lacks work."""

SETTLE_SECONDS = 0.02
"""Between two idle measurements, so that neither pays for the other's spinning threads."""


@dataclass(frozen=True)
class Setup:
    """Shared by all measurements of one run."""

    bundle: Path
    workers: int
    threads: int
    """Of one network evaluation."""
    seconds: float
    """Of one stretch of load."""
    launches: int
    requests: int
    """Idle requests of each kind."""
    steps: tuple[int, int]
    """The fewest and the most that the bundle takes."""
    image: bool
    costs: Path
    """Where the servers of this run keep what they learn of T(b): what one before learned on a busy machine would count
    against them, and what they learn under overload against the next."""
    peers: tuple[Contender, ...] = ()
    json: Path | None = None
    """Where the times of engines are written, for programs."""

    @property
    def ours(self) -> Contender:
        """Our server with the split."""
        return self.with_workers(self.workers)

    def with_workers(self, workers: int) -> Contender:
        """Our server with another number of worker processes."""
        split = ("--cpu-workers", str(workers), "--threads", str(self.threads))
        return longjump(self.bundle, (*split, "--cost-cache", str(self.costs)))

    @property
    def mix(self) -> Mix:
        """The mixed traffic: 90 % with the fewest steps, 10 % with the most."""
        few, many = self.steps
        return ((few, 0.9), (many, 0.1)) if many != few else ((few, 1.0),)

    @property
    def few(self) -> Mix:
        """Traffic of the fewest steps only."""
        return ((self.steps[0], 1.0),)

    def rng(self) -> random.Random:
        """A fresh generator of the run's draws."""
        return random.Random(SEED)

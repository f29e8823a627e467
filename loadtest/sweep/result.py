"""The result of a sweep, as it is written to JSON: its runs, and what was found in them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from loadtest.result import Checks, Part, Run, read_as
from loadtest.sweep.borders import Plan


class Asked(Part):
    """What the sweep looked for; times in seconds."""

    url: str
    steps: tuple[int, ...]
    deadlines: tuple[float, ...]
    share: float
    """Of what is sent, what has to be answered well within a deadline."""
    budget: float
    resolution: float
    repeats: int
    samples: int
    seed: int

    def plan(self) -> Plan:
        """As the policy takes it."""
        return Plan(
            self.steps, self.deadlines, self.budget, self.share, self.resolution, self.repeats, samples=self.samples
        )


class Idle(Part):
    """One request at a time; seconds."""

    p50: float | None
    p90: float | None
    requests: int


class Found(Part):
    """The highest rate at which a step count meets a deadline; rates per second."""

    deadline: float
    reachable: bool
    """Most requests that came alone were within it."""
    rate: float | None
    """None: no measured rate meets it."""
    low: float | None
    high: float | None
    """A 90 % interval of the border; None: open on that side."""
    runs: int
    """The fewer of the runs at `rate` and at the next rate above."""


class StepCountFound(Part):
    """What was found about one step count."""

    steps: int
    idle: Idle | None
    knee: float | None
    """The offered rate with the most throughput for its mean latency, per second."""
    peak: float
    """The highest throughput, good replies per second."""
    limits: tuple[Found, ...]
    quality: float | None
    checks: Checks | None = None
    """Of the replies of all its runs, the invalid ones too. None: written before sweeps compared bytes."""


class Sweep(Part):
    """A sweep, whole or cut short: by Ctrl-C, by its time, or because the server was gone."""

    format: Literal[1] = 1
    kind: Literal["sweep"] = "sweep"
    command: tuple[str, ...]
    started: str
    """ISO 8601, with the offset from UTC."""
    seconds: float
    """That it took so far, over all its parts if it was resumed."""
    complete: bool
    """Nothing was left to measure."""
    interrupted: bool
    aborted: str
    """Why it ended before its time by itself, or empty."""
    asked: Asked
    found: tuple[StepCountFound, ...]
    runs: tuple[Run, ...]
    """In the order in which they were made."""


def read_sweep(path: Path) -> Sweep:
    """The sweep in a file. ValueError that says what is wrong with it."""
    return read_as(Sweep, path, "`longjump loadtest sweep`")

"""What a sweep found, as its table and its report say it: a curve for each step count."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from loadtest.result import Checks


@dataclass(frozen=True)
class Level:
    """All valid runs of one step count at one rate, pooled. Latencies in seconds, from the intended sending."""

    rate: float | None
    """Offered, per second; None: one request at a time."""
    runs: int
    sent: int
    answered: int
    """Answered well."""
    throughput: float
    """Answered well, per second."""
    p50: float | None
    p90: float | None
    p99: float | None
    """Of all that was sent: infinite where what failed reaches into it, the slowest of few. None: nothing was sent."""
    mean: float | None
    """Of what was answered well."""
    stages: dict[str, float]
    """Mean seconds in each stage, by the server; empty: it did not say."""
    compared: int = 0
    """Replies to requests that had been asked of the idle server."""
    different: int = 0
    """Of which the bytes differed from those of the idle one."""

    def few(self, q: float) -> bool:
        """Whether not even one request lies beyond a quantile."""
        return self.sent * (1 - q) < 1 - 1e-9


@dataclass(frozen=True)
class Limit:
    """The highest rate at which a step count meets a deadline."""

    deadline: float
    """Seconds."""
    reachable: bool
    """An idle server meets it."""
    rate: float | None
    """The highest measured rate that meets it, per second; None: none of the measured ones."""
    low: float | None
    high: float | None
    """A 90 % interval of the border; None: open on that side."""
    runs: int
    """The fewer of the runs at both ends of the bracket."""
    beyond_client: bool = False
    """Rates above were not measured, because the client could not keep them."""

    unbounded: bool = False
    """No rate above it was measured: a sweep that ended before the server was overloaded."""

    def serves(self, rate: float) -> bool:
        """Whether a traffic of `rate` per second meets the deadline."""
        return self.rate is not None and rate <= self.rate


@dataclass(frozen=True)
class Curve:
    """What one step count does under load."""

    steps: int
    idle: Level | None
    levels: tuple[Level, ...]
    """By rising rate."""
    limits: tuple[Limit, ...]
    """For each deadline."""
    knee: float | None
    """The offered rate with the most throughput for its latency, per second."""
    peak: float
    """The highest throughput seen, per second."""
    quality: float | None = None
    """A distance between generated and real images as the manifest has it; lower is better."""
    checks: Checks | None = None
    """Of the replies of all runs, the invalid ones too."""

    def unknown(self, deadline: int) -> bool:
        """Whether nothing measured says at which rates a deadline (its number) is met."""
        return self.idle is None or (self.limits[deadline].reachable and not self.levels)


@dataclass(frozen=True)
class Invalid:
    """A run that says nothing of the server, since the client did not keep its schedule."""

    steps: int
    rate: float | None
    why: str


@dataclass(frozen=True)
class Summary:
    """What a sweep found."""

    model: str
    url: str
    when: str
    """The beginning, ISO 8601 in UTC."""
    machine: str
    """The client's machine, in words."""
    command: str
    seconds: float
    complete: bool
    """Nothing was left to measure; otherwise time ended, or a person ended it."""
    share: float
    """Of what is sent, what has to meet a deadline."""
    deadlines: tuple[float, ...]
    """Seconds, rising."""
    curves: tuple[Curve, ...]
    """By rising step count."""
    invalid: tuple[Invalid, ...] = ()
    warnings: tuple[str, ...] = ()
    """What else a reader has to know before trusting a figure."""
    quality_name: str | None = None
    """What `Curve.quality` is; None: the manifest has none."""


def knee(levels: Sequence[Level]) -> float | None:
    """The rate with the most power, throughput over mean latency (Kleinrock 1979); None without levels.

    Below it latency hardly rises, above it throughput hardly does.
    """
    power = {level.rate: level.throughput / level.mean for level in levels if level.mean and level.rate is not None}
    return max(power, key=lambda rate: power[rate]) if power else None


def choose(curves: Sequence[Curve], deadline: int, rate: float = 0.0) -> Curve | None:
    """The step count to run for a deadline (its number) at `rate` requests per second; None: none meets it.

    The best measured quality wins, the fewer steps of equals; without quality, the most steps.
    """
    fit = [curve for curve in curves if curve.limits[deadline].serves(rate)]
    measured = [curve for curve in fit if curve.quality is not None]
    if measured:
        return min(measured, key=lambda curve: (curve.quality or 0.0, curve.steps))
    return max(fit, key=lambda curve: curve.steps, default=None)


def at_rate(curve: Curve, rate: float, quantile: str) -> tuple[float, bool] | None:
    """A latency of a curve at a rate in seconds, and whether it was measured there.

    Between measured rates it is interpolated, from idle (a rate of 0) on; None: beyond what was measured or met.
    """
    known = [(0.0, curve.idle)] if curve.idle else []
    known += [(level.rate, level) for level in curve.levels if level.rate is not None]
    values = [(at, value) for at, level in known if (value := getattr(level, quantile)) is not None]
    if any(at == rate for at, _ in values):
        found = next(value for at, value in values if at == rate)
        return (found, True) if math.isfinite(found) else None
    below = [one for one in values if one[0] < rate]
    above = [one for one in values if one[0] > rate]
    if not below or not above or not math.isfinite(above[0][1] + below[-1][1]):
        return None
    (x0, y0), (x1, y1) = below[-1], above[0]
    return y0 + (y1 - y0) * (rate - x0) / (x1 - x0), False

"""What a tick costs: T(b), the seconds of one tick of b rows, measured for each b and refined in service.

Where it was not measured, T(b) is the line alpha + beta * b through what was. The knee of the curve is how many rows a
tick takes at most: more would add latency for everyone in it and next to no throughput.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

SMOOTHING = 0.03
"""Weight of one tick in the running mean of T(b), once 33 are in it: the noise that is left must be small against
KNEE_TOLERANCE."""

OUTLIER = 2.0
"""A tick counts as at most this many times the estimate: one stalled tick moves it by 3 %, a lasting change still
gets through."""

QUICK = 0.8
"""A tick that takes less than this share of the estimate is a quick one."""

QUICK_RUN = 3
"""So many quick ticks of b rows in a row, and the slowest of them is T(b): chance makes ticks longer and hardly ever
shorter, so the machine is faster than when the estimate was made."""

REFIT = 0.01
"""Relative change of a mean from which on the curve is fitted again: fitting costs more than a tick's other figures."""

FIRST = 3
"""Until so many ticks of b rows are seen the fastest is T(b): what first calls pay on top is not the cost."""

TRUSTED = 10
"""Ticks that a curve read from a file counts as: enough to serve by, few enough to be overruled soon."""

KNEE_TOLERANCE = 0.08
"""Throughput given up at the knee, as a share of the best, for shorter ticks."""

CALM_TOLERANCE = 0.15
"""Throughput given up while little waits, as a share of the best, for ticks shorter still."""

UNMEASURED = 0.02
"""T(1) in seconds before anything is known; a cautious CPU."""

FIXED_SHARE = 0.25
"""Share of T(1) taken for alpha while only one b is known, so that larger ticks are tried and measured."""


class _Mean:
    """The running mean of T(b) for one b."""

    __slots__ = ("beside", "fitted", "quick", "seconds", "seen", "ticks", "told")

    def __init__(self, seconds: float, ticks: int) -> None:
        self.seconds = seconds
        self.ticks = ticks
        self.told = seconds
        """What `seconds` was after the latest tick of b rows; ticks of other sizes may have quickened it since."""
        self.beside: dict[int, float] = {}
        """What T of the other sizes was then."""
        self.fitted = math.inf
        """What the curve was fitted to."""
        self.quick: list[tuple[int, float]] = []
        """(number of the observation, seconds) of the latest ticks, as long as all were quick."""
        self.seen = 0
        """Number of the latest observation."""


class Costs:
    """T(b) of one engine on one kind of worker, for b = 1 to `max_rows`."""

    def __init__(self, max_rows: int) -> None:
        """Raises ValueError for a `max_rows` below 1."""
        if max_rows < 1:
            raise ValueError(f"a tick takes at least 1 row, not {max_rows}")
        self.max_rows = max_rows
        self._means: dict[int, _Mean] = {}
        self._observed = 0
        self._curve: list[float] | None = None
        self._line = (0.0, 0.0)
        self._knee = self._calm = 1

    @property
    def known(self) -> bool:
        """Whether anything was measured; until then the numbers here are a guess, not to be promised on."""
        return bool(self._means)

    def observe(self, rows: int, seconds: float) -> None:
        """A tick of `rows` rows took so long. Ticks outside 1 to `max_rows` rows, or of no time, tell nothing."""
        if not 1 <= rows <= self.max_rows or not 0.0 < seconds < math.inf:
            return
        self._observed += 1
        mean = self._means.get(rows)
        if mean is None:
            mean = self._means[rows] = _Mean(seconds, 0)
        elif mean.ticks < FIRST:
            mean.seconds = min(mean.seconds, seconds)
            for other in self._means.values():  # the first calls paid more: the machine became no quicker
                if rows in other.beside:
                    other.beside[rows] = min(other.beside[rows], mean.seconds)
        elif seconds < QUICK * mean.seconds:
            mean.quick.append((self._observed, seconds))
            if len(mean.quick) == QUICK_RUN:
                self._quicken(rows, mean)
        else:
            mean.quick.clear()
            share = max(SMOOTHING, 1 / (mean.ticks + 1))
            mean.seconds += (min(seconds, OUTLIER * mean.seconds) - mean.seconds) * share
        mean.ticks += 1
        mean.seen = self._observed
        mean.told = mean.seconds
        mean.beside = {size: other.seconds for size, other in self._means.items()}
        if abs(mean.seconds - mean.fitted) > REFIT * mean.fitted or mean.fitted == math.inf:
            self._curve = None

    def _quicken(self, rows: int, mean: _Mean) -> None:
        """Believe a run of quick ticks; and that ticks of the sizes that had none since have become quicker likewise.

        Without the latter, sizes that a slow machine once made look bad would not be tried for a long time. One that
        does not deserve it is tried and put right by its next few ticks. They follow from what each was beside this
        one, and not from what it is now: on a machine that is slow and quick in turn they would else become quicker
        each time and slower never.
        """
        since, slowest = mean.quick[0][0], max(seconds for _, seconds in mean.quick)
        for other in self._means.values():
            if other is not mean and other.seen < since:
                other.seconds = min(other.told, other.told * slowest / other.beside.setdefault(rows, mean.seconds))
                other.ticks = min(other.ticks, FIRST)
                other.quick.clear()
        mean.seconds = slowest
        mean.ticks = min(mean.ticks, TRUSTED)
        mean.quick.clear()

    def tick_seconds(self, rows: int) -> float:
        """T(rows) in seconds, for any rows >= 1; never less than of fewer rows."""
        curve = self._fitted()
        if rows <= self.max_rows:
            return curve[rows - 1]
        alpha, beta = self._line
        return max(curve[-1], alpha + beta * rows)

    def service_seconds(self, rows: int, steps: int) -> float:
        """Seconds of a request alone on an idle worker: `steps` steps of `rows` rows, in ticks up to the knee."""
        knee = self.knee
        full, rest = divmod(rows, knee)
        return steps * (full * self.tick_seconds(knee) + (self.tick_seconds(rest) if rest else 0.0))

    @property
    def knee(self) -> int:
        """The fewest rows per tick whose rows per second are within KNEE_TOLERANCE of the best."""
        self._fitted()
        return self._knee

    @property
    def calm_rows(self) -> int:
        """The fewest rows per tick whose rows per second are within CALM_TOLERANCE of the best."""
        self._fitted()
        return self._calm

    @property
    def row_seconds(self) -> float:
        """Seconds per row-step of a busy worker: T(knee) / knee."""
        knee = self.knee
        return self.tick_seconds(knee) / knee

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON, for `from_dict`: every size at the pace at which the latest tick found the machine."""
        latest = max(self._means, key=lambda rows: self._means[rows].seen, default=0)
        ticks = {}
        for rows, mean in sorted(self._means.items()):
            now = self._means[latest].seconds
            ticks[str(rows)] = [mean.told * now / mean.beside.get(latest, now), mean.ticks]
        return {"max_rows": self.max_rows, "ticks": ticks}

    @classmethod
    def from_dict(cls, document: Any, max_rows: int | None = None) -> Costs:
        """The costs that `to_dict` wrote, for ticks of up to `max_rows` (None: as written).

        Raises ValueError if the document is not one that `to_dict` wrote.
        """
        try:
            costs = cls(_whole(document["max_rows"]) if max_rows is None else max_rows)
            for rows, (seconds, ticks) in document["ticks"].items():
                number = float(seconds)
                if _whole(int(rows)) < 1 or not 0.0 < number < math.inf or _whole(ticks) < 1:
                    raise ValueError(f"{ticks!r} ticks of {rows!r} rows in {seconds!r} s")
                if int(rows) <= costs.max_rows:
                    costs._means[int(rows)] = _Mean(number, min(ticks, TRUSTED))
        except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
            raise ValueError(f"not measured costs: {type(error).__name__}: {error}") from None
        for mean in costs._means.values():
            mean.beside = {size: other.seconds for size, other in costs._means.items()}
        return costs

    def _fitted(self) -> list[float]:
        """T(1) to T(max_rows), with the line and the knees that belong to it."""
        if self._curve is None:
            self._line = alpha, beta = _fit([(rows, mean.seconds, mean.ticks) for rows, mean in self._means.items()])
            for mean in self._means.values():
                mean.fitted = mean.seconds
            curve: list[float] = []
            for rows in range(1, self.max_rows + 1):
                known = self._means.get(rows)
                own = alpha + beta * rows if known is None else known.seconds
                curve.append(max(own, curve[-1] if curve else 0.0))
            self._curve = curve
            rates = [rows / seconds for rows, seconds in enumerate(curve, start=1)]
            best = max(rates)
            self._knee, self._calm = (
                next(rows for rows, rate in enumerate(rates, start=1) if rate >= (1.0 - tolerance) * best)
                for tolerance in (KNEE_TOLERANCE, CALM_TOLERANCE)
            )
        return self._curve


def _whole(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{value!r} is not a whole number")
    return value


def _fit(points: Sequence[tuple[int, float, int]]) -> tuple[float, float]:
    """(alpha, beta), neither negative, of the line through (rows, seconds, ticks) with the least squared error.

    A point weighs by its ticks, up to TRUSTED. One point gives a line by FIXED_SHARE, no point a guess.
    """
    if len(points) < 2:
        rows, seconds = (points[0][0], points[0][1]) if points else (1, UNMEASURED)
        single = seconds / (FIXED_SHARE + (1 - FIXED_SHARE) * rows)
        return FIXED_SHARE * single, (1 - FIXED_SHARE) * single
    weights = [min(ticks, TRUSTED) for _, _, ticks in points]
    total = sum(weights)
    mean_b = sum(w * b for w, (b, _, _) in zip(weights, points)) / total
    mean_t = sum(w * t for w, (_, t, _) in zip(weights, points)) / total
    spread = sum(w * (b - mean_b) ** 2 for w, (b, _, _) in zip(weights, points))
    slope = sum(w * (b - mean_b) * (t - mean_t) for w, (b, t, _) in zip(weights, points)) / spread
    if slope < 0.0:
        return mean_t, 0.0
    if mean_t < slope * mean_b:
        through = [(w * b * t, w * b * b) for w, (b, t, _) in zip(weights, points)]
        return 0.0, sum(up for up, _ in through) / sum(down for _, down in through)
    return mean_t - slope * mean_b, slope

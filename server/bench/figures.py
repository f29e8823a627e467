"""What the measurements say: percentiles, and each figure beside its target."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """A figure, what was asked of it, and what it was measured against in the same run."""

    what: str
    figure: float
    limit: float
    unit: str = ""
    at_least: bool = False
    """The limit is a lower one."""
    beside: str = ""
    """The floor or the peer of the same run, in words."""

    @property
    def met(self) -> bool:
        """Whether the figure is on the right side of the limit; a figure that is not a number is not."""
        return self.figure >= self.limit if self.at_least else self.figure <= self.limit

    def row(self) -> tuple[str, ...]:
        """What, figure, asked, verdict, beside."""
        asked = f"{'at least' if self.at_least else 'at most'} {self.limit:g} {self.unit}".rstrip()
        verdict = "met" if self.met else "NOT MET"
        return self.what, f"{self.figure:.3g} {self.unit}".rstrip(), asked, verdict, self.beside


def percentile(values: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile: the smallest value that `percent` of them do not exceed; nan of none."""
    if not 0 < percent <= 100:
        raise ValueError(f"a percentile is above 0 and at most 100, not {percent}")
    if not values:
        return math.nan
    return sorted(values)[math.ceil(len(values) * percent / 100) - 1]


def median(values: Sequence[float]) -> float:
    """The middle value, nan of none."""
    return statistics.median(values) if values else math.nan


def milliseconds(values: Sequence[float]) -> str:
    """Seconds as text: median, p99 and the worst."""
    if not values:
        return "none"
    numbers = (median(values), percentile(values, 99), max(values))
    return "p50 {:.1f}, p99 {:.1f}, worst {:.1f} ms".format(*(1000 * number for number in numbers))


def slope(times: Sequence[float], values: Sequence[float]) -> float:
    """Theil and Sen's slope of `values` over `times`: the median of all pairs', which a few odd values do not move.

    ValueError for fewer than two distinct times.
    """
    points = list(zip(times, values, strict=True))
    slopes = [(b - a) / (t - s) for i, (s, a) in enumerate(points) for t, b in points[i + 1 :] if t != s]
    if not slopes:
        raise ValueError(f"a slope needs at least two times, not {len(set(times))}")
    return statistics.median(slopes)


def table(targets: Sequence[Target]) -> str:
    """The targets as aligned text, a line for each."""
    rows = [("target", "figure", "asked", "", "beside, from the same run"), *(target.row() for target in targets)]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = ("  ".join([*(cell.ljust(width) for cell, width in zip(row, widths)), row[4]]) for row in rows)
    return "\n".join(line.rstrip() for line in lines)

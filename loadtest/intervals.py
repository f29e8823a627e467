"""How sure a figure of a run is, and how clear a change between two runs is.

Latencies of neighbouring requests depend on each other, through the queue: intervals that take them for independent are
too narrow. Here the spread comes from equal stretches of time (batch means), and what one stretch passes on to the next
is taken into account as an autoregression of first order would. Nothing here knows what differs between runs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from loadtest import histogram
from loadtest.counts import counts
from loadtest.quantiles import rank

FEWEST_BLOCKS = 5
"""With requests in them, below which their spread says nothing."""

BEYOND = 10
"""Requests that must lie beyond a quantile for it to be compared."""


FINEST = 0.001
"""Relative: a histogram's bins are as wide, and no figure is surer."""


@dataclass(frozen=True)
class Figure:
    """A positive figure and how sure it is."""

    value: float
    error: float
    """Standard error of its logarithm, which is about its relative error."""
    freedom: float
    """Degrees of freedom behind the error."""


@dataclass(frozen=True)
class Change:
    """From one figure to another."""

    before: float
    after: float
    ratio: float
    """After over before."""
    low: float
    high: float
    """An interval of the ratio."""

    @property
    def clear(self) -> bool:
        """Whether the interval leaves no change out."""
        return self.low > 1 or self.high < 1


def quantile_figure(blocks: Sequence[str], q: float) -> Figure | None:
    """A quantile in seconds with its error, from the histograms of equal stretches of time.

    The share of requests above the quantile has an error, which the distribution turns into one of the quantile
    (Woodruff 1952). None if too few requests lie beyond it, or too few blocks hold any.
    """
    found = _table(blocks)
    if found is None or found[1].sum() * (1 - q) < BEYOND - 1e-9:
        return None
    values, table = found
    total = np.cumsum(table.sum(axis=0))

    def value_at(share: float) -> float:
        return float(values[np.searchsorted(total, rank(int(total[-1]), share))])

    value = value_at(q)
    above, sizes = table[:, values > value].sum(axis=1), table.sum(axis=1)
    # A run whose blocks happen to agree is no surer than independent requests are.
    share, least = float(above.sum() / sizes.sum()), math.sqrt(q * (1 - q) / float(sizes.sum()))
    spread, freedom = _error((above - share * sizes) / sizes.mean())
    spread = max(spread, least)
    error = max(math.log(value_at(q + spread) / value), math.log(value / value_at(q - spread)))
    return Figure(value, max(error, FINEST), freedom)


def mean_figure(blocks: Sequence[str]) -> Figure | None:
    """The mean in seconds with its error; None if too few blocks hold requests."""
    found = _table(blocks)
    if found is None:
        return None
    values, table = found
    sums, sizes = table @ values, table.sum(axis=1)
    mean = float(sums.sum() / sizes.sum())
    spread, freedom = _error((sums - mean * sizes) / sizes.mean())
    return Figure(mean, max(spread / mean, FINEST), freedom)


def rate_figure(per_second: Sequence[int]) -> Figure | None:
    """A rate with its error, from counts of whole seconds; None if these are too few, or all 0."""
    if len(per_second) < FEWEST_BLOCKS or not any(per_second):
        return None
    values = np.asarray(per_second, np.float64)
    mean = float(values.mean())
    spread, freedom = _error(values - mean)
    return Figure(mean, max(spread / mean, FINEST), freedom)


def change(before: Figure, after: Figure, confidence: float) -> Change:
    """The ratio of two independent figures with its interval, by Welch's approximation in logarithms."""
    variance = before.error**2 + after.error**2
    freedom = variance**2 / (before.error**4 / before.freedom + after.error**4 / after.freedom)
    width = student(1 - (1 - confidence) / 2, freedom) * math.sqrt(variance)
    ratio = after.value / before.value
    return Change(before.value, after.value, ratio, ratio * math.exp(-width), ratio * math.exp(width))


def share_change(before: tuple[int, int], after: tuple[int, int], confidence: float) -> tuple[float, float]:
    """An interval of the difference of two shares (some, all), after less before: Newcombe 1998, method 10."""
    (low_b, high_b), (low_a, high_a) = (wilson(*one, confidence) for one in (before, after))
    b, a = before[0] / before[1], after[0] / after[1]
    down = math.hypot(a - low_a, high_b - b)
    up = math.hypot(high_a - a, b - low_b)
    return a - b - down, a - b + up


def wilson(some: int, of: int, confidence: float) -> tuple[float, float]:
    """Wilson's interval of a share."""
    z = NormalDist().inv_cdf(1 - (1 - confidence) / 2)
    share, term = some / of, z * z / of
    middle = (share + term / 2) / (1 + term)
    half = z / (1 + term) * math.sqrt(share * (1 - share) / of + term / (4 * of))
    return max(0.0, middle - half), min(1.0, middle + half)


def student(p: float, freedom: float) -> float:
    """The quantile of Student's t, by its expansion about the normal one (Abramowitz and Stegun, 26.7.5)."""
    z = NormalDist().inv_cdf(p)
    terms = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return sum(term / freedom**power for power, term in enumerate(terms))


def _table(blocks: Sequence[str]) -> tuple[NDArray[np.float64], NDArray[np.int64]] | None:
    """The values [bins] in seconds and the counts [blocks, bins] of what is in the histograms; None: too few blocks."""
    rows = [(block, bins) for block, bins in map(counts, blocks) if bins.any()]
    if len(rows) < FEWEST_BLOCKS:
        return None
    table = np.array([bins for _, bins in rows])
    used = np.flatnonzero(table.any(axis=0))
    values = np.array([histogram.value(rows[0][0], int(index)) for index in used])
    return values, table[:, used]


def _error(deviations: NDArray[np.float64]) -> tuple[float, float]:
    """The standard error of the mean of a series whose mean is 0, and its degrees of freedom."""
    n = len(deviations)
    power = float(deviations @ deviations)
    if power == 0:
        return 0.0, n - 1.0
    passed_on = float(deviations[1:] @ deviations[:-1]) / power
    # What n values estimate of it is too little on average (Marriott and Pope 1954).
    passed_on = min(max((passed_on * n + 1) / (n - 3), 0.0), 0.8)
    independent = n * (1 - passed_on) / (1 + passed_on)
    return math.sqrt(power / (n - 1) / independent), max(independent - 1, 2.0)

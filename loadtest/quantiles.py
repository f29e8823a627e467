"""Which of so many values a quantile is: one rule for tables, charts, comparisons and verdicts. Pure."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike


def rank(count: int, q: float) -> int:
    """How many of `count` values make up a share `q` in (0, 1], one at least: the quantile is the last of these.

    Definition 1 of Hyndman and Fan 1996, no value in between: p99 is the first that 99 % of all are not above.
    """
    # Rounded, since 0.99 * 300 is a little below 297 or above it as floats happen to fall.
    return min(max(math.ceil(round(q * count, 6)), 1), count)


def quantile(values: ArrayLike, q: float) -> float:
    """The quantile of some values, of one at least."""
    array = np.asarray(values, np.float64)
    place = rank(array.size, q) - 1
    return float(np.partition(array, place)[place])

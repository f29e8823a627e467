"""HdrHistograms as arrays: how many values there are up to a time, and quantiles over more than was answered."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from hdrh.histogram import HdrHistogram
from numpy.typing import NDArray

from loadtest.histogram import decode

Counts = NDArray[np.int64]
"""[bins] of a histogram: how many values fell into each."""


def counts(text: str) -> tuple[HdrHistogram, Counts]:
    """An encoded histogram and the counts of its bins."""
    histogram = decode(text)
    return histogram, np.ctypeslib.as_array(histogram.counts).astype(np.int64)


def within(text: str, seconds: float) -> int:
    """How many of the times in an encoded histogram are at most `seconds`, as exactly as its bins are."""
    histogram, bins = counts(text)
    return int(bins[: histogram.get_counts_array_index(max(1, round(seconds * 1e6))) + 1].sum())


def quantile(texts: Sequence[str], sent: int, q: float) -> float | None:
    """The time in seconds that a share `q` of `sent` requests were answered within, by histograms of the good replies.

    Infinite where those that failed reach into it; None if nothing was sent. Of few requests it is the slowest one.
    """
    if not sent:
        return None
    rank = math.ceil(round(q * sent, 6))
    pairs = [counts(text) for text in texts]
    if not pairs or sum(int(bins.sum()) for _, bins in pairs) < rank:
        return math.inf
    histogram = pairs[0][0]
    total = np.sum([bins for _, bins in pairs], axis=0)
    index = int(np.searchsorted(np.cumsum(total), rank))
    return float(histogram.get_highest_equivalent_value(histogram.get_value_from_index(index))) / 1e6

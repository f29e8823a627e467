"""HdrHistograms as arrays: how many values there are up to a time, and quantiles over more than was answered."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from hdrh.histogram import HdrHistogram

from loadtest import histogram
from loadtest.histogram import Counts, decode
from loadtest.quantiles import rank


def counts(text: str) -> tuple[HdrHistogram, Counts]:
    """An encoded histogram and the counts of its bins."""
    whole = decode(text)
    return whole, histogram.counts(whole)


def within(text: str, seconds: float) -> int:
    """How many of the times in an encoded histogram are at most `seconds`, as exactly as its bins are."""
    whole, bins = counts(text)
    return int(bins[: whole.get_counts_array_index(max(1, round(seconds * 1e6))) + 1].sum())


def quantile(texts: Sequence[str], sent: int, q: float) -> float | None:
    """The time in seconds that a share `q` of `sent` requests were answered within, by histograms of the good replies.

    Infinite where those that failed reach into it; None if nothing was sent. Of few requests it is the slowest one.
    """
    if not sent:
        return None
    wanted = rank(sent, q)
    pairs = [counts(text) for text in texts]
    if not pairs or sum(int(bins.sum()) for _, bins in pairs) < wanted:
        return math.inf
    total = np.sum([bins for _, bins in pairs], axis=0)
    return histogram.value(pairs[0][0], int(np.searchsorted(np.cumsum(total), wanted)))

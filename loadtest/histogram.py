"""HdrHistograms of times: recorded, read at quantiles, encoded for a result's JSON and read back."""

from __future__ import annotations

from typing import Any

import numpy as np
from hdrh.histogram import HdrHistogram
from numpy.typing import ArrayLike, NDArray

from loadtest.quantiles import rank
from loadtest.result import QUANTILES, Distribution

LONGEST = 3600.0
"""Seconds; what is longer counts as this."""

DIGITS = 3
"""Significant decimal digits: a value is off by 0.1 % at most."""

ENOUGH = 10
"""Samples beyond a quantile, from which on it is more than a hint."""

_MICRO = 1e6

Counts = NDArray[np.int64]
"""[bins] of a histogram: how many values fell into each."""


def empty() -> HdrHistogram:
    """A histogram of times from 1 microsecond to `LONGEST`."""
    return HdrHistogram(1, int(LONGEST * _MICRO), DIGITS)


def recorded(seconds: ArrayLike) -> HdrHistogram:
    """A histogram of times in seconds; below 1 microsecond counts as 1."""
    histogram = empty()
    micros = np.clip(np.rint(np.asarray(seconds, np.float64) * _MICRO), 1, LONGEST * _MICRO).astype(np.int64)
    for value, count in zip(*(column.tolist() for column in np.unique(micros, return_counts=True))):
        histogram.record_value(value, count)
    return histogram


def encode(histogram: HdrHistogram) -> str:
    """As text: V2, compressed, base64."""
    return bytes(histogram.encode()).decode("ascii")


def decode(text: str) -> HdrHistogram:
    """The histogram of `encode`'s text. ValueError if it is none."""
    try:
        return HdrHistogram.decode(text.encode("ascii"))
    except Exception as error:  # the library raises whatever its parts do
        raise ValueError(f"not an encoded histogram: {text[:40]!r} ({error})") from None


def counts(histogram: HdrHistogram) -> Counts:
    """How many values fell into each bin."""
    return np.ctypeslib.as_array(histogram.counts).astype(np.int64)


def value(histogram: HdrHistogram, index: int) -> float:
    """The time in seconds that a bin stands for: its highest."""
    return float(histogram.get_highest_equivalent_value(histogram.get_value_from_index(index))) / _MICRO


def at(histogram: HdrHistogram, quantile: float) -> float | None:
    """The time in seconds at a quantile in (0, 1]; None if the histogram is empty."""
    total = np.cumsum(counts(histogram))
    if not total[-1]:
        return None
    return value(histogram, int(np.searchsorted(total, rank(int(total[-1]), quantile))))


def enough(count: int, quantile: float) -> bool:
    """Whether `count` samples say more than a hint about `quantile`."""
    return count * (1 - quantile) >= ENOUGH - 1e-9


def describe(seconds: ArrayLike) -> Distribution:
    """The distribution of times in seconds."""
    times = np.asarray(seconds, np.float64)
    histogram = recorded(times)
    values: dict[str, Any] = dict.fromkeys(("mean", "min", "max"))
    if times.size:
        values = {"mean": float(times.mean()), "min": float(times.min()), "max": float(times.max())}
    p50, p90, p99, p999 = (at(histogram, quantile) for quantile in QUANTILES)
    return Distribution(
        count=int(times.size),
        **values,
        p50=p50,
        p90=p90,
        p99=p99,
        p999=p999,
        too_few=tuple(quantile for quantile in QUANTILES if not enough(times.size, quantile)),
        histogram=encode(histogram),
    )

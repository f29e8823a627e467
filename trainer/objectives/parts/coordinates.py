"""The coordinates of the papers, and those of the linear path that everything here is trained in.

EDM and the consistency models add noise, x = x0 + sigma n; the linear path mixes, z = (1 - t) x0 + t n. Both are one
path: x = z / (1 - t) at sigma = t / (1 - t). Since ln sigma = logit t, EDM's log-normal law of sigma is the
logit-normal law of t with the same mean and deviation.
"""

from __future__ import annotations

from typing import TypeVar

from torch import Tensor

Number = TypeVar("Number", float, Tensor)


def sigma_of(t: Number) -> Number:
    """The noise level t / (1 - t) of a time t < 1."""
    return t / (1 - t)


def time_of(sigma: Number) -> Number:
    """The time sigma / (1 + sigma) of a noise level."""
    return sigma / (1 + sigma)


def sigma_between(m: Tensor, t: Tensor) -> Tensor:
    """sigma(t) - sigma(m) for t < 1, without the difference of two large levels."""
    return (t - m) / ((1 - t) * (1 - m))

"""Data uniform on boxes, on the linear path: the velocity in closed form. A checkerboard is eight squares.

Given z_t = z the data point is normal with mean z / (1 - t) and standard deviation t / (1 - t) along each axis, cut off
at its box: all that is needed are a normal's probability of an interval and its mean within one.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import log_ndtr, logsumexp

from trainer.oracle.arrays import Time
from trainer.oracle.integrate import flow_jump

NEAR = 1e-3
"""Time below which a jump is not integrated but ends at the mean of the data given z: there the velocity turns ever
more sharply at the edges of the boxes, while what is left of the way is of this length."""


class Boxes:
    """Data uniform on boxes with corners low[k] < high[k], `[K, D]`, each as probable as the others.

    z is `[..., D]` and times are floats or `[...]`, NumPy, fp64; 0 < t <= 1.
    """

    def __init__(self, low: ArrayLike, high: ArrayLike) -> None:
        self.low, self.high = np.asarray(low, np.float64), np.asarray(high, np.float64)
        if self.low.ndim != 2 or self.low.shape != self.high.shape or not (self.low < self.high).all():
            raise ValueError(f"boxes need corners low < high, each [K, D], got {low!r} and {high!r}")

    @property
    def dim(self) -> int:
        return self.low.shape[1]

    def sample(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """`count` data points, `[count, D]`."""
        volume = (self.high - self.low).prod(1)
        if not np.allclose(volume, volume[0]):
            raise ValueError("boxes of different volumes would be sampled unevenly")
        chosen = rng.integers(len(self.low), size=count)
        return self.low[chosen] + (self.high - self.low)[chosen] * rng.random((count, self.dim))

    def data_mean(self, z: np.ndarray, t: Time) -> np.ndarray:
        """E[x0 | z_t = z], `[..., D]`."""
        t = np.asarray(t, np.float64)[..., None, None]
        # In units of t, so that t = 1, where z says nothing about the data, needs no special case.
        shift = z[..., None, :] / t
        below, above = (1 - t) * self.low / t - shift, (1 - t) * self.high / t - shift
        mass = _log_mass(below, above)
        weight = mass.sum(-1)
        posterior = np.exp(weight - logsumexp(weight, -1, keepdims=True))
        density = [np.exp(-0.5 * x**2 - 0.5 * math.log(2 * math.pi) - mass) for x in (below, above)]
        # The mean of a standard normal on [below, above], and where along the box's side that is.
        inside = density[0] - density[1]
        share = np.clip((inside - below) / np.maximum(above - below, 1e-300), 0, 1)
        narrow = above - below < 1e-4  # nothing left of the normal's shape: the middle of the box
        mean = self.low + (self.high - self.low) * np.where(narrow, 0.5, share)
        result: np.ndarray = (posterior[..., None] * mean).sum(-2)
        return result

    def velocity(self, z: np.ndarray, t: Time) -> np.ndarray:
        """v(z, t) = (z - E[x0 | z_t = z]) / t."""
        return (z - self.data_mean(z, t)) / np.asarray(t, np.float64)[..., None]

    def jump(self, z: np.ndarray, t: float, s: float) -> np.ndarray:
        """The flow map from t to s, integrated to 1e-6; to s < NEAR, its last part is the mean of the data given z."""
        z = flow_jump(self.velocity, z, t, max(s, NEAR), rtol=1e-8, atol=1e-8)
        if s >= NEAR:
            return z
        return z + (s - NEAR) * self.velocity(z, NEAR)


def _log_mass(below: np.ndarray, above: np.ndarray) -> np.ndarray:
    """ln(Phi(above) - Phi(below)) without cancelling in either tail."""
    flip = below > 0
    low, high = np.where(flip, -above, below), np.where(flip, -below, above)
    upper, lower = log_ndtr(high), log_ndtr(low)
    wide = high - low > 1e-8
    difference = upper + np.log1p(-np.exp(np.where(wide, lower - upper, -1.0)))
    thin = -0.5 * ((low + high) / 2) ** 2 - 0.5 * math.log(2 * math.pi) + np.log(np.maximum(high - low, 1e-300))
    result: np.ndarray = np.where(wide, difference, thin)
    return result

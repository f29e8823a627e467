"""Gaussian data N(m, C) on the linear path z_t = (1 - t) x0 + t x1: velocity, average velocity, flow map.

Along an axis whose data have the standard deviation sd, z_t has sigma_t = sqrt((1-t)^2 sd^2 + t^2). The flow
scales z - (1-t) m by sigma_s / sigma_t, because its ODE is linear. A full covariance is the same in its own
eigenbasis, which time does not change.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from trainer.oracle.arrays import Array, Time, constant_like, trailing


def path_variance(t: Time, std: Any) -> Any:
    """sigma_t^2 = (1-t)^2 std^2 + t^2: the variance of z_t along an axis whose data have `std`."""
    return (1 - t) ** 2 * std**2 + t**2


def log_growth(t: Time, std: Any) -> Any:
    """a_t = d ln(sigma_t) / dt = (t - (1-t) std^2) / sigma_t^2: the slope of the velocity in z."""
    return (t - (1 - t) * std**2) / path_variance(t, std)


def average_log_growth(t: Time, s: Time, std: Any) -> Any:
    """k(t, s) = (sigma_t - sigma_s) / ((t-s) sigma_t): the slope of the average velocity in z.

    Written as [(t+s)(1+std^2) - 2 std^2] / (sigma_t (sigma_t + sigma_s)): nothing cancels; a_t at s = t.
    """
    sigma_t, sigma_s = path_variance(t, std) ** 0.5, path_variance(s, std) ** 0.5
    return ((t + s) * (1 + std**2) - 2 * std**2) / (sigma_t * (sigma_t + sigma_s))


class Gaussian:
    """Data N(mean, C) in D dimensions, with C = diag(std^2) or, by `Gaussian.full`, any covariance.

    `mean` and `std` are numbers or `[D]`; std = 0 is a single point, which has a velocity at t > 0 only.
    Methods take z `[..., D]` and times `[...]` or floats, as NumPy arrays or torch tensors; the two samplers
    are NumPy's.
    """

    def __init__(self, mean: ArrayLike, std: ArrayLike) -> None:
        self.mean = np.atleast_1d(np.asarray(mean, dtype=np.float64))
        self.std = np.full(self.mean.shape, std, dtype=np.float64)
        self.basis: np.ndarray | None = None  # [D, D], columns = the axes of std; None = the coordinate axes
        if self.mean.ndim != 1 or not np.all(self.std >= 0):
            raise ValueError(f"a Gaussian needs a mean [D] and a std >= 0, got {mean!r} and {std!r}")

    @classmethod
    def full(cls, mean: ArrayLike, covariance: ArrayLike) -> Gaussian:
        """Data N(mean, covariance) with covariance `[D, D]`, symmetric and positive semi-definite."""
        matrix = np.asarray(covariance, dtype=np.float64)
        if matrix.ndim != 2 or not np.allclose(matrix, matrix.T):
            raise ValueError(f"a covariance is a symmetric [D, D] matrix, got {matrix.tolist()}")
        variances, basis = np.linalg.eigh(matrix)
        if variances[0] < -1e-12 * max(1.0, variances[-1]):
            raise ValueError(f"a covariance has no negative eigenvalue, got {variances.tolist()}")
        gaussian = cls(mean, np.sqrt(np.maximum(variances, 0)))
        gaussian.basis = basis
        return gaussian

    @property
    def dim(self) -> int:
        return len(self.mean)

    def velocity(self, z: Array, t: Time) -> Array:
        """v(z, t) = E[x1 - x0 | z_t = z] = -m + a_t (z - (1-t) m)."""
        t = trailing(t)
        return self._scale(z, t, log_growth(t, constant_like(self.std, z))) - constant_like(self.mean, z)

    def average_velocity(self, z: Array, t: Time, s: Time) -> Array:
        """u(z, t, s) = -m + k(t, s) (z - (1-t) m); at s = t it is the velocity."""
        t, s = trailing(t), trailing(s)
        slope = average_log_growth(t, s, constant_like(self.std, z))
        return self._scale(z, t, slope) - constant_like(self.mean, z)

    def jump(self, z: Array, t: Time, s: Time) -> Array:
        """The flow map from t to s: (1-s) m + (sigma_s / sigma_t) (z - (1-t) m)."""
        t, s = trailing(t), trailing(s)
        std = constant_like(self.std, z)
        ratio = (path_variance(s, std) / path_variance(t, std)) ** 0.5
        return self._scale(z, t, ratio) + (1 - s) * constant_like(self.mean, z)

    def velocity_variance(self, z: Array, t: Time) -> Array:
        """Trace of Var(x1 - x0 | z_t = z), `[...]`: sum of std^2 / sigma_t^2, the same at every z."""
        std = constant_like(self.std, z)
        return (std**2 / path_variance(trailing(t), std) + 0 * z).sum(-1)

    def sample(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """`count` data points, `[count, D]`."""
        return self._rotate(self.std * rng.standard_normal((count, self.dim))) + self.mean

    def sample_data_given(self, z: np.ndarray, t: Time, rng: np.random.Generator) -> np.ndarray:
        """One draw of x0 given z_t = z for each z, `[..., D]` (0 < t). The noise that goes with it is
        x1 = (z - (1-t) x0) / t."""
        t = trailing(t)
        variance = path_variance(t, self.std)
        centre = self._scale(z, t, (1 - t) * self.std**2 / variance) + self.mean
        return centre + self._rotate(t * self.std / np.sqrt(variance) * rng.standard_normal(z.shape))

    def _scale(self, z: Array, t: Time, factors: Array) -> Array:
        """z - (1-t) m, multiplied by `factors` `[..., D]` along the axes of the covariance."""
        centred = z - (1 - t) * constant_like(self.mean, z)
        if self.basis is None:
            return factors * centred
        return self._rotate(factors * (centred @ constant_like(self.basis, z)))

    def _rotate(self, y: Array) -> Array:
        return y if self.basis is None else y @ constant_like(self.basis.T, y)

"""Gaussian-mixture data on the linear path: velocity and densities in closed form, the flow map exactly.

In one dimension the flow is monotone and carries p_t to p_s, so it is the quantile map F_s^-1(F_t(z)). In
more dimensions it is integrated.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import log_ndtr, logsumexp, ndtri_exp

from trainer.oracle.arrays import Array, Time, constant_like, namespace, trailing
from trainer.oracle.gaussian import path_variance
from trainer.oracle.integrate import average_velocity, flow_jump


class GaussianMixture:
    """Data drawn from component k with probability weights[k], then from N(means[k], stds[k]^2 I).

    weights `[K]` (sum 1), means `[K]` (one dimension) or `[K, D]`, stds a number or `[K]`. With std = 0 it is
    an empirical data set, which has a velocity and a density at t > 0 only. Velocities take z `[..., D]` and
    times `[...]` or floats as NumPy arrays or torch tensors; the rest is NumPy, fp64.
    """

    def __init__(self, weights: ArrayLike, means: ArrayLike, stds: ArrayLike) -> None:
        self.weights = np.asarray(weights, dtype=np.float64)
        means = np.asarray(means, dtype=np.float64)
        self.means = means[:, None] if means.ndim == 1 else means
        self.stds = np.full(self.weights.shape, stds, dtype=np.float64)
        if self.means.ndim != 2 or self.weights.shape != self.means.shape[:1]:
            raise ValueError(f"weights [K] and means [K, D] disagree: {self.weights.shape} and {means.shape}")
        if not (np.all(self.weights > 0) and np.isclose(self.weights.sum(), 1)):
            raise ValueError(f"weights must be positive and sum to 1, got {self.weights.tolist()}")
        if not np.all(self.stds >= 0):
            raise ValueError(f"stds must be >= 0, got {self.stds.tolist()}")

    @property
    def dim(self) -> int:
        return self.means.shape[1]

    def velocity(self, z: Array, t: Time) -> Array:
        """v(z, t) = E[x1 - x0 | z_t = z]: the components' velocities, weighted by who made z."""
        posterior, velocities = self._components(z, t)
        return (posterior[..., None] * velocities).sum(-2)

    def velocity_variance(self, z: Array, t: Time) -> Array:
        """Trace of Var(x1 - x0 | z_t = z), `[...]`: within the components and between their velocities."""
        posterior, velocities = self._components(z, t)
        stds = constant_like(self.stds, z)
        within = self.dim * stds**2 / path_variance(trailing(t), stds)
        mean = (posterior[..., None] * velocities).sum(-2)[..., None, :]
        between = ((velocities - mean) ** 2).sum(-1)
        return (posterior * (within + between)).sum(-1)

    def average_velocity(self, z: Array, t: Time, s: Time, steps: int = 20) -> Array:
        """u(z, t, s), integrated in `steps` steps so that torch can differentiate it.

        With 20 the jump 1 -> 0 is within 1e-8 for stds >= 0.3 (narrower data need more); `jump` is exact.
        """
        return average_velocity(self.velocity, z, t, s, steps)

    def jump(self, z: np.ndarray, t: Time, s: Time) -> np.ndarray:
        """The flow map from t to s: the quantile map in one dimension, integrated in more."""
        return self._quantile_jump(z, t, s) if self.dim == 1 else flow_jump(self.velocity, z, t, s)

    def jump_slope(self, z: np.ndarray, t: Time, s: Time) -> np.ndarray:
        """d jump / dz `[..., 1]` in one dimension: p_t(z) / p_s(jump(z))."""
        self._require_one_dimension("jump_slope")
        landed = self.jump(z, t, s)
        return np.exp(self.log_density(z, t) - self.log_density(landed, s))[..., None]

    def log_density(self, z: np.ndarray, t: Time) -> np.ndarray:
        """ln p_t(z) `[...]`."""
        return logsumexp(self._joint(*self._centred(z, t)), axis=-1)

    def log_cdf(self, z: np.ndarray, t: Time) -> np.ndarray:
        """ln F_t(z) `[..., 1]` in one dimension; accurate far into the lower tail."""
        return self._log_tail(z, t, sign=1.0)

    def log_survival(self, z: np.ndarray, t: Time) -> np.ndarray:
        """ln(1 - F_t(z)) `[..., 1]` in one dimension; accurate far into the upper tail."""
        return self._log_tail(z, t, sign=-1.0)

    def sample(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """`count` data points, `[count, D]`."""
        chosen = rng.choice(len(self.weights), size=count, p=self.weights)
        return self.means[chosen] + self.stds[chosen, None] * rng.standard_normal((count, self.dim))

    def sample_data_given(self, z: np.ndarray, t: Time, rng: np.random.Generator) -> np.ndarray:
        """One draw of x0 given z_t = z for each z, `[..., D]` (0 < t). The noise that goes with it is
        x1 = (z - (1-t) x0) / t."""
        posterior, _ = self._components(z, t)
        t = trailing(t)
        thresholds = posterior.cumsum(-1)[..., :-1]  # without the last, which rounding may leave below 1
        chosen = (rng.random(z.shape[:-1])[..., None] > thresholds).sum(-1)
        mean, std = self.means[chosen], self.stds[chosen][..., None]
        variance = path_variance(t, std)
        centre = mean + (1 - t) * std**2 / variance * (z - (1 - t) * mean)
        return centre + t * std / np.sqrt(variance) * rng.standard_normal(z.shape)

    def _components(self, z: Array, t: Time) -> tuple[Array, Array]:
        """P(component | z_t = z) `[..., K]` and the components' velocities `[..., K, D]`."""
        centred, variance = self._centred(z, t)
        joint, xp = self._joint(centred, variance), namespace(z)
        likelihood = xp.exp(joint - xp.amax(joint, -1)[..., None])
        t, variances = trailing(t), constant_like(self.stds**2, z)
        slopes = (t - (1 - t) * variances) / variance
        return likelihood / likelihood.sum(-1)[..., None], slopes[..., None] * centred - constant_like(self.means, z)

    def _centred(self, z: Array, t: Time) -> tuple[Array, Array]:
        """z - (1-t) means[k] `[..., K, D]` and sigma_kt^2 `[..., K]`."""
        centred = z[..., None, :] - (1 - trailing(t, 2)) * constant_like(self.means, z)
        return centred, path_variance(trailing(t), constant_like(self.stds, z))

    def _joint(self, centred: Array, variance: Array) -> Array:
        """ln(weights[k] N(z; (1-t) means[k], sigma_kt^2 I)), `[..., K]`."""
        log_width = namespace(centred).log(2 * math.pi * variance)
        exponent = (centred**2).sum(-1) / variance + self.dim * log_width
        return constant_like(np.log(self.weights), centred) - 0.5 * exponent

    def _log_tail(self, z: np.ndarray, t: Time, sign: float) -> np.ndarray:
        self._require_one_dimension("a distribution function")
        centre, width = self._centres_and_widths(t)
        return logsumexp(np.log(self.weights) + log_ndtr(sign * (z - centre) / width), axis=-1, keepdims=True)

    def _centres_and_widths(self, t: Time) -> tuple[np.ndarray, np.ndarray]:
        """(1-t) means and sigma_kt in one dimension, both `[..., K]`."""
        t = trailing(t)
        return (1 - t) * self.means[:, 0], np.sqrt(path_variance(t, self.stds))

    def _quantile_jump(self, z: np.ndarray, t: Time, s: Time) -> np.ndarray:
        """F_s^-1(F_t(z)) by bisection, in the logarithm of whichever tail z lies in.

        The mixture's quantile lies between the smallest and the largest of its components' quantiles, so the
        bracket is exact; 100 halvings exhaust fp64.
        """
        z, t, s = np.asarray(z, dtype=np.float64), np.asarray(t), np.asarray(s)
        lower, upper = self.log_cdf(z, t), self.log_survival(z, t)
        in_lower = lower < upper
        target = np.where(in_lower, lower, upper)
        centre, width = self._centres_and_widths(s)
        bracket = centre + width * np.where(in_lower, 1, -1) * ndtri_exp(target)
        low, high = bracket.min(-1, keepdims=True), bracket.max(-1, keepdims=True)
        for _ in range(100):
            middle = 0.5 * (low + high)
            tail = np.where(in_lower, self.log_cdf(middle, s), self.log_survival(middle, s))
            too_low = np.where(in_lower, tail < target, tail > target)
            low, high = np.where(too_low, middle, low), np.where(too_low, high, middle)
        return 0.5 * (low + high)

    def _require_one_dimension(self, what: str) -> None:
        if self.dim != 1:
            raise ValueError(f"{what} exists for one-dimensional data only, these have {self.dim} dimensions")

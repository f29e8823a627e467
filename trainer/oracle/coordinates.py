"""Gaussian truth N(m, sd^2 I) in the coordinates other methods train in, and the way into them.

EDM/VE       x = x0 + sigma n                     sigma = t / (1-t),  x = z / (1-t)
TrigFlow     x = cos(tau) x0 + sin(tau) n sd_x    tan(tau) = sigma / sd_x,  x = z cos(tau) / (1-t)

(sd_x is `sigma_data`, the scale TrigFlow gives its noise.) A consistency function maps a point of any time to
the data end of its trajectory, so all forms of one point agree with jump(z, t, 0).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from trainer.oracle.arrays import Array, Time, trailing


def edm_from_linear(z: Array, t: Time) -> tuple[Array, Time]:
    """(x, sigma) of the point z `[..., D]` of the linear path at time t < 1."""
    return z / trailing(1 - t), t / (1 - t)


def linear_from_edm(x: Array, sigma: Any) -> tuple[Array, Time]:
    """(z, t) of the EDM point x `[..., D]` at noise level sigma >= 0."""
    return x / trailing(1 + sigma), sigma / (1 + sigma)


def trigflow_from_linear(z: Array, t: Time, sigma_data: float) -> tuple[Array, Any]:
    """(x, tau) of the point z `[..., D]` of the linear path at time t <= 1; tau in [0, pi/2] (NumPy).

    cos(tau) / (1-t) is written as sigma_data / hypot(t, (1-t) sigma_data), which is finite at t = 1.
    """
    scale = sigma_data / np.hypot(t, (1 - t) * sigma_data)
    return z * trailing(scale), np.arctan2(t, (1 - t) * sigma_data)


def edm_consistency(x: Array, sigma: Any, mean: float, std: float) -> Array:
    """f(x, sigma) = m + std / sqrt(std^2 + sigma^2) (x - m), with sigma a number or `[...]`."""
    sigma = trailing(sigma)
    return mean + std / (std**2 + sigma**2) ** 0.5 * (x - mean)


def trigflow_consistency(x: Array, tau: Any, mean: float, std: float, sigma_data: float) -> Array:
    """f(x, tau) = m + (std / s_tau) (x - cos(tau) m), x `[..., D]`, tau a number or `[...]` (NumPy).

    s_tau^2 = (cos(tau) std)^2 + (sin(tau) sigma_data)^2 is the variance of x about its mean.
    """
    cos, sin = np.cos(trailing(tau)), np.sin(trailing(tau))
    return mean + std / np.hypot(cos * std, sin * sigma_data) * (x - cos * mean)


def trigflow_network(x: Array, tau: Any, mean: float, std: float, sigma_data: float) -> Array:
    """What an exact TrigFlow network returns: F = (cos(tau) x - f) / (sigma_data sin(tau)), tau > 0."""
    cos, sin = np.cos(trailing(tau)), np.sin(trailing(tau))
    return (cos * x - trigflow_consistency(x, tau, mean, std, sigma_data)) / (sigma_data * sin)

"""Where objectives with finite steps converge on Gaussian data N(m, std^2 I): not at the truth.

Each learns an affine jump z_s = (1-s) m + P (z - (1-t) m) whose slope P is a product over the steps that its
target chains together; the flow's own slope is sigma_s / sigma_t. Continuous objectives (MeanFlow, improved
MeanFlow, AYF, sCM) reach that one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

import numpy as np

from trainer.oracle.gaussian import log_growth, path_variance

Rate = Callable[[np.ndarray], np.ndarray]
"""a(t), elementwise, of the linear flow dy/dt = a(t) y about the mean."""


def exact_slope(t: float, s: float, std: float) -> float:
    """sigma_s / sigma_t: the slope of the flow map from t to s."""
    return (path_variance(s, std) / path_variance(t, std)) ** 0.5


def euler_slope(times: np.ndarray, rate: Rate) -> float:
    """Slope of a chain of Euler steps down the grid `times` (decreasing)."""
    t, s = times[:-1], times[1:]
    return float(np.prod(1 - (t - s) * rate(t)))


def heun_slope(times: np.ndarray, rate: Rate) -> float:
    """Slope of a chain of Heun steps (trapezoids with an Euler predictor) down the same kind of grid."""
    t, s = times[:-1], times[1:]
    return float(np.prod(1 - (t - s) / 2 * (rate(t) + rate(s) * (1 - (t - s) * rate(t)))))


def shortcut_slope(steps: int, std: float) -> float:
    """Shortcut models, jump 1 -> 0, with the smallest step 1/steps, which is learned as an Euler step."""
    return euler_slope(np.linspace(1, 0, steps + 1), partial(log_growth, std=std))


def consistency_training_slope(steps: int, std: float) -> float:
    """Consistency training on the uniform grid of `steps` intervals of the linear path, jump 1 -> 0."""
    return shortcut_slope(steps, std)


def alpha_flow_slope(alpha: float, std: float, t: float = 1.0, s: float = 0.0) -> float:
    """alpha-Flow at a fixed alpha in (0, 1]: Euler steps, each a share alpha of what is left of the way."""
    if not 0 < alpha <= 1:
        raise ValueError(f"alpha must be in (0, 1], got {alpha}")
    left = [t - s]
    while left[-1] > 1e-16 * (t - s):  # what is left changes the product by less than fp64 shows
        left.append((1 - alpha) * left[-1])
    return euler_slope(s + np.array(left), partial(log_growth, std=std))


def ve_rate(sigma: np.ndarray, std: float) -> np.ndarray:
    """sigma / (std^2 + sigma^2): the rate of the VE flow, whose points have variance std^2 + sigma^2."""
    return sigma / (std**2 + sigma**2)


def karras_sigmas(levels: int, low: float = 0.002, high: float = 80.0, rho: float = 7.0) -> np.ndarray:
    """EDM's grid of `levels` noise levels from `high` down to `low`."""
    ramp = np.linspace(high ** (1 / rho), low ** (1 / rho), levels)
    return ramp**rho


def ve_consistency_slope(levels: int, std: float, solver: Literal["euler", "heun"] = "euler") -> float:
    """Slope of the consistency function at sigma = 80 on a Karras grid of `levels` noise levels.

    `euler` is consistency training (a step along one sample's noise is, on average, an Euler step); `heun` is
    distillation from the exact teacher with Heun steps. The flow's own slope is the square root of
    (std^2 + .002^2) / (std^2 + 80^2).
    """
    chain = {"euler": euler_slope, "heun": heun_slope}[solver]
    return chain(karras_sigmas(levels), partial(ve_rate, std=std))

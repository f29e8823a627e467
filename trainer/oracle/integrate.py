"""The flow map of a velocity without a closed form, by integrating dz/dt = v(z, t).

Both ways run over the fraction of the path, from 0 at t to 1 at s, so each sample may have its own times, and
both use the Runge-Kutta method of order 8 by Dormand and Prince.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.integrate import DOP853, solve_ivp

from trainer.oracle.arrays import Array, Time, trailing

Velocity = Callable[[Array, Time], Array]
"""v(z [..., D], t [...]) -> [..., D]"""


def flow_jump(
    velocity: Velocity, z: np.ndarray, t: Time, s: Time, rtol: float = 1e-12, atol: float = 1e-12
) -> np.ndarray:
    """The flow map from t to s at z `[..., D]`, with steps chosen by the error (NumPy, fp64).

    The tolerances bound a root mean square over all samples, so they are far below the 1e-8 asked of one.

    Raises:
        ArithmeticError: the integrator could not reach s (a velocity that is singular on the way).
    """
    span = np.asarray(t, dtype=np.float64) - s

    def slope(fraction: float, flat: np.ndarray) -> np.ndarray:
        return (-trailing(span) * velocity(flat.reshape(z.shape), t - fraction * span)).ravel()

    solution = solve_ivp(slope, (0.0, 1.0), z.ravel(), method="DOP853", rtol=rtol, atol=atol)
    if not solution.success:
        raise ArithmeticError(f"the flow from t={t} to s={s} could not be integrated: {solution.message}")
    return solution.y[:, -1].reshape(z.shape)


def average_velocity(velocity: Velocity, z: Array, t: Time, s: Time, steps: int = 20) -> Array:
    """u(z, t, s) of any velocity in `steps` equal steps, 12 evaluations each.

    The velocity is averaged along the way; places are never subtracted and divided by t - s, so u is the
    velocity itself at s = t. Nothing but arithmetic: torch differentiates it in every argument.
    """
    span, h = t - s, 1.0 / steps
    way = trailing(span)
    u = 0 * z
    for step in range(steps):
        stages: list[Array] = []
        for weights, node in zip(DOP853.A, DOP853.C):
            at = u + h * _combine(weights, stages)
            stages.append(velocity(z - way * at, t - (step + float(node)) * h * span))
        u = u + h * _combine(DOP853.B, stages)
    return u


def _combine(weights: np.ndarray, stages: list[Array]) -> Array:
    return sum(float(weight) * stage for weight, stage in zip(weights, stages) if weight)

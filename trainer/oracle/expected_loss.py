"""The raw loss per dimension that remains when the network equals the truth, for data N(m, std^2 I).

Flow matching and improved MeanFlow regress on x1 - x0 by functions of z alone, so theirs is a floor: below it
something leaks. MeanFlow's is NOT a floor: its residual carries the Jacobian of the learned jump, and a wrong
network with a smaller one has a smaller loss. Never select MeanFlow checkpoints by loss.
"""

from __future__ import annotations

from typing import Any

from trainer.oracle.arrays import Time
from trainer.oracle.gaussian import path_variance


def flow_matching_loss(t: Time, std: Any) -> Any:
    """std^2 / sigma_t^2 = Var(x1 - x0 | z_t): flow matching, and the rows with s = t of any method."""
    return std**2 / path_variance(t, std)


def meanflow_loss(t: Time, s: Time, std: Any) -> Any:
    """sigma_s^2 std^2 / sigma_t^4: the variance above times the squared Jacobian of the jump."""
    return flow_matching_loss(t, std) * path_variance(s, std) / path_variance(t, std)


def improved_meanflow_loss(t: Time, std: Any) -> Any:
    """std^2 / sigma_t^2: improved MeanFlow's regression of V on x1 - x0, whatever s is."""
    return flow_matching_loss(t, std)

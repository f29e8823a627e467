"""The total derivative of the average velocity along the flow. Only this file builds its tangent."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from trainer.objectives.target import Velocity


def total_derivative(u: Velocity, z: Tensor, t: Tensor, s: Tensor, label: Tensor, velocity: Tensor) -> Tensor:
    """du/dt along dz/dt = velocity with s fixed: one forward-mode pass, without gradient.

    The tangent of (z, t, s) is (velocity, 1, 0): MeanFlow (arXiv 2505.13447, eq. 8) writes (v, 0, 1) because it orders
    the times as (r, t). The wrong order runs without an error, hence one place. It runs in the precision of z, which
    must be float32 or float64: a half-precision derivative is noise (sCM, arXiv 2410.11081, section 4). Attention is
    restricted to the implementation that has a forward-mode derivative.

    Args:
        u: average velocity (z, t, s, label) -> [B, ...].
        z: [B, ...]; t, s: [B]; label: int64 [B]; velocity: [B, ...].

    Returns:
        du/dt, [B, ...].

    Raises:
        RuntimeError: called under autocast, or with half-precision inputs.
    """
    if torch.is_autocast_enabled(z.device.type):
        raise RuntimeError("a Jacobian-vector product under autocast is noise: leave autocast for it")
    if z.dtype not in (torch.float32, torch.float64):
        raise RuntimeError(f"a Jacobian-vector product needs float32 or float64, not {z.dtype}")
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        derivative: Tensor = torch.func.jvp(
            lambda z, t, s: u(z, t, s, label),
            (z, t, s),
            (velocity, torch.ones_like(t), torch.zeros_like(s)),
        )[1]
    return derivative

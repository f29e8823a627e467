"""The target that almost every method of the family has: two legs from t to s, by way of a time m in between.

They differ in who walks the first leg (a pair of data and noise, a teacher, the map itself), in where m lies, and in
whose weights walk the second (the map's own, or averaged ones):

    CT, iCT, ECT    s = 0     m: a noise level below t      leg 1: the pair
    CD              s = 0     m: a noise level below t      leg 1: a Heun step of the teacher
    CTM             any s     any m                         leg 1: Heun steps of the teacher
    Shortcut        t - d     m: the middle                 leg 1: the map itself
    alpha-Flow      any s     m: alpha s + (1 - alpha) t    leg 1: the pair
"""

from __future__ import annotations

import torch
from torch import Tensor

from models.flow_map import per_sample
from trainer.objectives.parts.target import Condition, Velocity


def two_legs(u: Velocity, z: Tensor, t: Tensor, m: Tensor, s: Tensor, w: Tensor, condition: Condition) -> Tensor:
    """Average velocity over [s, t] of a leg with velocity w from t to m and one of the map from there to s.

        z_m = z - (t - m) w,  alpha = (t - m) / (t - s),  target = alpha w + (1 - alpha) u(z_m, m, s)

    With the exact w and u this is the semigroup identity of a flow. With m = s it is w alone (so alpha = 1 for s = t).

    Args:
        u: whose second leg it is, such as `Networks.target`; asked without gradient.
        z: [B, ...], where the first leg begins.
        t, m, s: [B], s <= m <= t.
        w: [B, ...], average velocity of the first leg.
        condition: what u is told, of the same rows.

    Returns:
        [B, ...], without gradient.
    """
    with torch.no_grad():
        # 1 - alpha and not alpha: exactly 0 for m = s, and s = t needs no division by 0.
        rest = per_sample((m - s) / torch.where(t > s, t - s, 1.0), z)
        second = u(z - per_sample(t - m, z) * w, m, s, *condition)
        return (1 - rest) * w + rest * second

"""Steps of a solver down a teacher's flow."""

from __future__ import annotations

from torch import Tensor

from models.flow_map import per_sample
from trainer.objectives.parts.target import Marginal


def heun_of_noise(teacher: Marginal, z: Tensor, t: Tensor, m: Tensor, label: Tensor) -> Tensor:
    """Average velocity of one Heun step from t to m in EDM's coordinates (arXiv 2206.00364, algorithm 1).

    There dx/dsigma is the noise that the teacher sees, E[x1 | z] = z + (1 - t) v(z, t). The step goes along the mean of
    that at both ends: as a velocity of the linear path, (mean - z) / (1 - t).

    Args:
        teacher: v, without gradient.
        z: [B, ...]; t, m: [B], m <= t < 1; label: [B].

    Returns:
        w, [B, ...], so that the step ends at z - (t - m) w.
    """
    here, there = per_sample(1 - t, z), per_sample(1 - m, z)
    first = teacher(z, t, label)  # Euler's step is the same in both coordinates
    end = z - per_sample(t - m, z) * first
    noise = end + there * teacher(end, m, label)
    return (first + (noise - z) / here) / 2


def heun(teacher: Marginal, z: Tensor, t: Tensor, m: Tensor, label: Tensor) -> Tensor:
    """The same of one Heun step in the coordinates of the linear path, up to t = 1: the mean velocity of both ends."""
    first = teacher(z, t, label)
    return (first + teacher(z - per_sample(t - m, z) * first, m, label)) / 2

"""What an objective is given and what it answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from models.flow_map import per_sample

Velocity = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""(z, t, s, label) -> average velocity; a `FlowMap` or a closed form in tests."""


class Batch(NamedTuple):
    """Training pairs on the linear path z_t = (1 - t) x0 + t x1."""

    x0: Tensor  # [B, ...] data
    x1: Tensor  # [B, ...] noise, N(0, I)
    label: Tensor  # int64 [B]; the null label where it was dropped
    dropped: Tensor  # bool [B]: whether the label was dropped

    @property
    def velocity(self) -> Tensor:
        """Conditional velocity v_c = x1 - x0, [B, ...]."""
        return self.x1 - self.x0

    def at(self, t: Tensor) -> Tensor:
        """z_t for t [B]."""
        t = per_sample(t, self.x0)
        return (1 - t) * self.x0 + t * self.x1


class Target(NamedTuple):
    """A regression: the loss is the batch mean of weight * ||prediction - target||^2 (the sum over dimensions)."""

    prediction: Tensor  # [B, ...], with gradient
    target: Tensor  # [B, ...], without
    weight: Tensor  # [B], without
    terms: dict[str, Tensor]  # raw scalars for the log, before any weighting; each is checked for NaN and Inf

    def loss(self) -> Tensor:
        """The scalar to minimise."""
        return (self.weight * square_norm(self.prediction - self.target)).mean()


def square_norm(x: Tensor) -> Tensor:
    """Sum of squares over all but the batch dimension: [B, ...] -> [B]."""
    return x.flatten(1).square().sum(1)


def mean_square(x: Tensor) -> Tensor:
    """Mean over the batch and the dimensions, a scalar without gradient."""
    return x.detach().square().mean()

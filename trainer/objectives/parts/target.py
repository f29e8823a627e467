"""What an objective is given and what it answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from models.flow_map import per_sample

Velocity = Callable[..., Tensor]
"""(z, t, s, label[, guidance[, augment]]) -> average velocity; a `FlowMap`, or a closed form in tests."""

Marginal = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(z, t, label) -> velocity, without gradient; a trained flow matching or flow map, or a closed form in tests."""


class Networks(NamedTuple):
    """The networks of one training step, as functions."""

    u: Velocity  # the one in training; may be compiled, and its insides may run in bfloat16
    exact: Velocity  # the same weights in float32 and eager: what derivatives are taken of
    null_label: int
    dropout: bool = False  # whether they draw masks, from torch's global generator
    still: Velocity | None = None  # u without dropout, for targets; None where that is u itself
    lagged: Velocity | None = None  # u with averaged weights, without gradient to them; see `target`
    teacher: Marginal | None = None  # velocity of a trained flow
    walker: Velocity | None = None  # the same teacher as a map, without gradient: u over [s, t], its velocity of a flow
    weak: Marginal | None = None  # of a weaker one, for autoguidance
    companion: Callable[..., Tensor] | None = None  # `Objective.companion`
    both: Callable[..., tuple[Tensor, Tensor]] | None = None  # u and its head's velocity; the companion is a `Head`
    head: Velocity | None = None  # the latter alone and without dropout, for targets

    @property
    def target(self) -> Velocity:
        """What targets are made with: the averaged network of a method that has one, else u itself. To be asked under
        torch.no_grad, unless a gradient is to reach z through it."""
        return self.lagged or self.u


@dataclass(frozen=True)
class Condition:
    """What a network is told besides z and the times, in the order of its arguments: `u(z, t, s, *condition)`."""

    label: Tensor  # int64 [B]; the null label where it was dropped
    guidance: Tensor | None = None  # [B], effective scale; None for a network that does not take it
    augment: Tensor | None = None  # [B, A], what augmentation did to x0 (Karras et al. 2022, appendix F.2)

    def __iter__(self) -> Iterator[Tensor | None]:
        """The arguments, without those at the end that are None."""
        if self.augment is not None:
            return iter((self.label, self.guidance, self.augment))
        return iter((self.label,) if self.guidance is None else (self.label, self.guidance))

    def rows(self, index: slice) -> Condition:
        """Some of the rows."""
        return Condition(self.label[index], _rows(self.guidance, index), _rows(self.augment, index))

    def relabelled(self, label: Tensor) -> Condition:
        """The same with other labels."""
        return Condition(label, self.guidance, self.augment)


class Batch(NamedTuple):
    """Training pairs on the linear path z_t = (1 - t) x0 + t x1."""

    x0: Tensor  # [B, ...] data
    x1: Tensor  # [B, ...] noise, N(0, I)
    condition: Condition
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
    """A regression: the loss is the batch mean of weight * ||prediction - target||^2 + also (norms are sums)."""

    prediction: Tensor  # [B, ...], with gradient
    target: Tensor  # [B, ...], without
    weight: Tensor  # [B]; without, but where it is learned
    terms: dict[str, Tensor]
    """Raw values for the log, before any weighting, without gradient: one per row that the term is about, so that
    the mean over several processes and pieces of a batch is exact. Each is checked for NaN and Inf."""
    also: Tensor | None = None
    """[B], with gradient: what else a method minimises, such as a second regression."""
    fake: Tensor | None = None
    """[B, ...], with gradient: samples at time 0 for the batch's labels, which an adversarial phase judges."""

    def losses(self) -> Tensor:
        """weight * ||prediction - target||^2 + also of each row, [B]."""
        losses = self.weight * square_norm(self.prediction - self.target)
        return losses if self.also is None else losses + self.also


def square_norm(x: Tensor) -> Tensor:
    """Sum of squares over all but the batch dimension: [B, ...] -> [B]."""
    return x.flatten(1).square().sum(1)


def mean_square(x: Tensor) -> Tensor:
    """Mean of squares over all but the batch dimension, without gradient: [B, ...] -> [B]."""
    return x.detach().flatten(1).square().mean(1)


def _rows(value: Tensor | None, index: slice) -> Tensor | None:
    return None if value is None else value[index]

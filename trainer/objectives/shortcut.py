"""Shortcut models (Frans et al., arXiv 2410.12557): learn jumps of halves, quarters, ..., each from two of half its
length."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from math import log2
from typing import ClassVar, Literal, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, model_validator
from torch import Generator, Tensor

from export.runtime.grids import DYADIC_FINEST
from models.flow_map import Span
from trainer.objectives.parts.guidance import late
from trainer.objectives.parts.moment import Moment
from trainer.objectives.parts.objective import Draws, Objective
from trainer.objectives.parts.target import Batch, Condition, Networks, Target, Velocity, mean_square
from trainer.objectives.parts.two_legs import two_legs
from trainer.shard import Shard

LENGTHS = int(log2(DYADIC_FINEST))
"""How many lengths are learned from shorter ones: 1, 1/2, ..., 1/64."""


class FinestGuidance(BaseModel):
    """Classifier-free guidance of the two half-steps of the shortest jump that is learned from shorter ones.

        w = u(null) + scale (u(c) - u(null))

    Longer jumps inherit it; steps of 1/128, which are flow matching, do not have it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    scale: PositiveFloat = 1.0
    start_step: int = Field(0, ge=0, description="the first guided step; the mix means something once u does")

    def active(self, step: int) -> bool:
        """Whether targets are guided at this step."""
        return self.scale != 1 and step >= self.start_step


@dataclass(frozen=True)
class Lengths(Draws):
    """Two times a row: `jumps` rows of the lengths 1/64 to 1, the shortest first, and then rows of the finest step."""

    shortest: int = 0  # the first rows, whose length is 1/64

    def part(self, shard: Shard) -> Self:
        """The rows of a shard."""
        return dataclasses.replace(super().part(shard), shortest=shard.count_of(self.shortest))


class Shortcut(Objective):
    """Regress the jump of length d on two of d/2 in a row, by averaged weights; the finest on single pairs' velocity.

        w1 = u-(z_t, t, t - d/2),  w2 = u-(clip(z_t - d/2 w1), t - d/2, t - d)
        target = clip((w1 + w2) / 2) for d = 1, ..., 1/64, v_c for d = 1/128;  loss = ||u - target||^2 / D

    (eq. 3 to 5 and algorithm 1, with time reversed: theirs is 0 at noise.) A share `bootstrap` of each batch are jumps,
    evenly over the lengths: in a batch two lengths differ by one row at most, and the one with more goes round, so that
    small batches leave none out. (The authors' code gives all left-over rows to d = 1.) t is a multiple of d.

    The network is told d as it is told every span, by the embedding of t - s beside that of t, where the authors embed
    log2(1/d). Labels are dropped in all rows, in theirs only where v_c is the target: so the null label knows long
    jumps as well. The target is asked without dropout where the weights are the network's own (`target_ema: null`).
    """

    span: ClassVar[Span] = "dyadic"
    reference: ClassVar[str] = "arXiv 2410.12557, eq. 3 to 5"

    method: Literal["shortcut"] = "shortcut"
    target_ema: float | None = Field(
        0.999, ge=0, lt=1, description="decay of the averaged weights that make targets; null: the weights themselves"
    )
    bootstrap: float = Field(0.125, gt=0, le=1, description="share of rows that learn from two half-steps")
    clip: PositiveFloat | None = Field(4.0, description="bound of |z| between half-steps and of |target|; null: none")
    guidance: FinestGuidance = FinestGuidance()

    @model_validator(mode="after")
    def _null_label_is_trained(self) -> Shortcut:
        if self.guidance.scale != 1 and self.label_dropout == 0:
            raise ValueError("guidance mixes in the null label, which only label_dropout above 0 trains")
        return self

    @property
    def guided(self) -> str | None:
        """The scale of every jump but the finest."""
        return None if self.guidance.scale == 1 else f"{self.guidance.scale:g}"

    def check_batch(self, rows: int) -> None:
        """Raise ValueError for a batch without a row to bootstrap."""
        if self._jumps(rows) < 1:
            raise ValueError(
                f"of {rows} rows the share objective.bootstrap={self.bootstrap:g} is none, so no jump would be "
                f"learned; it takes run.batch={next(n for n in range(rows, 10**9) if self._jumps(n))} or more"
            )

    def guides_by(self, step: int) -> bool:
        """Whether guidance has begun."""
        return self.guidance.active(step)

    def notes(self, steps: int) -> list[str]:
        """Says guidance that never begins."""
        told = super().notes(steps)
        return told if self.guided is None else [*told, *late(self.guidance.start_step, steps)]

    def draw(self, rows: int, generator: Generator, moment: Moment) -> Lengths:
        """A length and a place on its grid for each row."""
        jumps, device = self._jumps(rows), generator.device
        groups = shared_evenly(jumps, LENGTHS, moment)
        pieces = [DYADIC_FINEST >> (1 + group) for group in groups] + [DYADIC_FINEST] * (rows - jumps)
        count = torch.tensor(pieces, device=device)
        place = (torch.rand(rows, generator=generator, device=device) * count).long().clamp(max=count - 1)
        return Lengths((place + 1) / count, place / count, jumps, shortest=groups.count(0))

    def __call__(self, networks: Networks, batch: Batch, draws: Draws, moment: Moment) -> Target:
        """One evaluation predicts all rows; two make the targets of the jumps."""
        assert isinstance(draws, Lengths)
        t, s, jumps = draws.t, draws.s, draws.jumps
        z, condition = batch.at(t), batch.condition
        prediction = networks.u(z, t, s, *condition)
        target, terms = batch.velocity, {}
        if jumps:
            ask = networks.lagged or networks.still or networks.u
            guided = draws.shortest if self.guidance.active(moment.step) else 0
            ask = self._guided(ask, guided, networks.null_label)
            with torch.no_grad():
                two = self.two_halves(ask, z[:jumps], t[:jumps], s[:jumps], condition.rows(slice(0, jumps)))
            target = torch.cat([two, target[jumps:]])
            terms["loss/jump"] = mean_square((prediction - target)[:jumps])
        if jumps < len(z):
            terms["loss/velocity"] = mean_square((prediction - target)[jumps:])
        return Target(prediction, target, torch.full_like(t, 1 / target[0].numel()), terms)

    def two_halves(self, ask: Velocity, z: Tensor, t: Tensor, s: Tensor, condition: Condition) -> Tensor:
        """The average velocity of two jumps in a row, from t to the middle and from there to s, [B, ...] (eq. 4)."""
        middle = (t + s) / 2
        first = ask(z, t, middle, *condition)
        return self._clipped(two_legs(self._from_clipped(ask), z, t, middle, s, first, condition))

    def _from_clipped(self, ask: Velocity) -> Velocity:
        return lambda z, *more: ask(self._clipped(z), *more)

    def _guided(self, ask: Velocity, rows: int, null_label: int) -> Velocity:
        """`ask`, guided in its first rows."""
        if not rows:
            return ask

        def mixed(z: Tensor, t: Tensor, s: Tensor, label: Tensor, *more: Tensor | None) -> Tensor:
            velocity, first = ask(z, t, s, label, *more), slice(0, rows)
            null = torch.full_like(label[first], null_label)
            without = ask(z[first], t[first], s[first], null, *(None if x is None else x[first] for x in more))
            return torch.cat([without + self.guidance.scale * (velocity[first] - without), velocity[rows:]])

        return mixed

    def _clipped(self, value: Tensor) -> Tensor:
        return value if self.clip is None else value.clamp(-self.clip, self.clip)

    def _jumps(self, rows: int) -> int:
        return round(self.bootstrap * rows)


def shared_evenly(rows: int, groups: int, moment: Moment) -> list[int]:
    """The group of each row, not falling: sizes differ by one at most, and which are larger changes with the step.

    Over a run every group has the same share, if `rows` are fewer than `groups`.
    """
    return [min(int((row + moment.spread) * groups / rows), groups - 1) for row in range(rows)]

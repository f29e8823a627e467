"""Flow matching on the linear path (Lipman et al., arXiv 2210.02747): learns the velocity, u at s = t."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Generator

from models.flow_map import Span
from trainer.objectives.parts.moment import Moment
from trainer.objectives.parts.objective import Draws, Objective
from trainer.objectives.parts.target import Batch, Networks, Target, mean_square
from trainer.objectives.parts.times import LogitNormal, TimeLaw


class FlowMatching(Objective):
    """Regress the velocity on that of single pairs of data and noise: the flow, without jumps.

        loss = E ||u(z_t, t, t) - v_c||^2 / D

    Its optimum on N(m, s^2 I) has the value s^2 / sigma_t^2 averaged over t.
    """

    span: ClassVar[Span] = "velocity"
    reference: ClassVar[str] = "arXiv 2210.02747, eq. 23"
    no_average: ClassVar[str | None] = "its target is data, which no network makes"

    method: Literal["flow-matching"] = "flow-matching"
    t: TimeLaw = LogitNormal(mean=0.0)

    def scale_of(self, step: int) -> float | None:
        """That of the plain conditional model."""
        return 1.0

    def draw(self, rows: int, generator: Generator, moment: Moment) -> Draws:
        """Times with s = t."""
        t = self.t.draw(rows, generator)
        return Draws(t, t)

    def __call__(self, networks: Networks, batch: Batch, draws: Draws, moment: Moment) -> Target:
        """Regress the conditional velocity, whose conditional mean is the marginal one."""
        t = draws.t
        prediction = networks.u(batch.at(t), t, t, *batch.condition)
        target = batch.velocity
        weight = torch.full_like(t, 1 / target[0].numel())
        return Target(prediction, target, weight, {"loss/velocity": mean_square(prediction - target)})

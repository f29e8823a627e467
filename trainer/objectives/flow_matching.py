"""Flow matching on the linear path (Lipman et al., arXiv 2210.02747): learns the velocity, u at s = t."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Generator

from models.flow_map import Span
from trainer.objectives.target import Batch, Target, Velocity, mean_square
from trainer.objectives.times import LogitNormal, TimeLaw


class FlowMatching(BaseModel):
    """E ||u(z_t, t, t) - v_c||^2 / D. At the optimum on N(m, s^2 I) its value is s^2 / sigma_t^2 averaged over t."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    span: ClassVar[Span] = "velocity"

    method: Literal["flow-matching"] = "flow-matching"
    t: TimeLaw = LogitNormal(mean=0.0)
    label_dropout: float = Field(0.1, ge=0, lt=1)

    def __call__(self, u: Velocity, batch: Batch, generator: Generator, step: int, null_label: int) -> Target:
        """Regress the conditional velocity, whose conditional mean is the marginal one."""
        t = self.t.draw(len(batch.x0), generator)
        prediction = u(batch.at(t), t, t, batch.label)
        target = batch.velocity
        weight = torch.full_like(t, 1 / target[0].numel())
        return Target(prediction, target, weight, {"loss/velocity": mean_square(prediction - target)})

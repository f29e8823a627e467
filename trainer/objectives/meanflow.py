"""MeanFlow (Geng et al., arXiv 2505.13447): learns the average velocity over every [s, t] without a teacher."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Generator

from models.flow_map import Span, per_sample
from trainer.objectives.guidance import Guidance
from trainer.objectives.tangent import total_derivative
from trainer.objectives.target import Batch, Target, Velocity, mean_square
from trainer.objectives.times import TwoTimes
from trainer.objectives.weighting import adaptive


class MeanFlow(BaseModel):
    """Regress u on its own Eulerian identity, u = v - (t - s) du/dt, with the conditional velocity for v.

        target = sg(v_g - (t - s) du/dt), du/dt along (v_g, 1, 0)
        loss = ||u - target||^2 / sg(||u - target||^2 + c)^p

    (eq. 9 and 10.) Its raw loss is not a bound: a wrong map may score lower than the truth, so checkpoints are never
    chosen by it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    span: ClassVar[Span] = "any"

    method: Literal["meanflow"] = "meanflow"
    times: TwoTimes = TwoTimes()
    guidance: Guidance = Guidance()
    adaptive_power: float = Field(1.0, ge=0, description="p")
    adaptive_constant: float = Field(1e-3, gt=0, description="c, beside a sum over dimensions")
    label_dropout: float = Field(0.1, ge=0, lt=1)

    @model_validator(mode="after")
    def _null_label_is_trained(self) -> MeanFlow:
        if self.guidance.guides and self.label_dropout == 0:
            raise ValueError("guidance mixes in the null label, which only label_dropout above 0 trains")
        return self

    def __call__(self, u: Velocity, batch: Batch, generator: Generator, step: int, null_label: int) -> Target:
        """The target of every row; only the jumps pay for the derivative, which (t - s) cancels on the other rows."""
        rows = len(batch.x0)
        t, s = self.times.draw(rows, generator)
        z = batch.at(t)
        prediction = u(z, t, s, batch.label)

        jumps = self.times.count(rows)
        head = slice(0, jumps)  # s < t, but for the ties that the order `min` makes
        velocity = batch.velocity
        if self.guidance.active(step):
            with torch.no_grad():
                unconditional = u(z, t, t, torch.full_like(batch.label, null_label))
                conditional = prediction.detach()  # of the rows with s = t it is u(z, t, t | c) already
                if jumps and self.guidance.kappa:
                    conditional = torch.cat([u(z[head], t[head], t[head], batch.label[head]), conditional[jumps:]])
            velocity = self.guidance.velocity(batch, t, conditional, unconditional)

        target = velocity
        terms = {}
        if jumps:
            derivative = total_derivative(u, z[head], t[head], s[head], batch.label[head], velocity[head])
            # (1) u = v - (t - s) du/dt where s < t, (2) u = v where s = t.
            target = torch.cat([velocity[head] - per_sample((t - s)[head], z) * derivative, velocity[jumps:]])
            terms = {
                "derivative": mean_square(derivative),
                "loss/jump": mean_square((prediction - target)[head]),
            }
        if jumps < rows:
            terms["loss/velocity"] = mean_square((prediction - target)[jumps:])
        weight = adaptive(prediction - target, self.adaptive_power, self.adaptive_constant)
        return Target(prediction, target, weight, terms)

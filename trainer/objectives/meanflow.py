"""MeanFlow (Geng et al., arXiv 2505.13447): learns the average velocity over every [s, t] without a teacher."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field

from models.flow_map import per_sample
from trainer.objectives.parts.average_velocity import AverageVelocity
from trainer.objectives.parts.guidance import guided_velocity
from trainer.objectives.parts.moment import Moment
from trainer.objectives.parts.objective import Draws
from trainer.objectives.parts.target import Batch, Networks, Target, mean_square
from trainer.objectives.parts.weighting import adaptive


class MeanFlow(AverageVelocity):
    """Regress u on its own Eulerian identity, u = v - (t - s) du/dt, with v of single pairs.

        target = sg(v_g - (t - s) du/dt), du/dt along (v_g, 1, 0)
        loss = ||u - target||^2 / sg(||u - target||^2 + c)^p

    (eq. 9 and 10.) Its raw loss is not a bound: a wrong map may score lower than the truth, so checkpoints are never
    chosen by it.
    """

    reference: ClassVar[str] = "arXiv 2505.13447, eq. 9 and 10"

    method: Literal["meanflow"] = "meanflow"
    adaptive_power: float = Field(1.0, ge=0, description="p")
    adaptive_constant: float = Field(1e-3, gt=0, description="c, beside a sum over dimensions")

    def __call__(self, networks: Networks, batch: Batch, draws: Draws, moment: Moment) -> Target:
        """The target of every row; only the jumps pay for the derivative, which (t - s) cancels on the other rows.

        The two kinds of rows are evaluated apart, so that a jump's prediction and its derivative can share a pass and
        the masks of dropout.
        """
        t, s, jumps = draws.t, draws.s, draws.jumps
        z, condition = batch.at(t), batch.condition
        head = slice(0, jumps)  # s < t, but for the ties that the order `min` makes
        tail = slice(jumps, len(z))  # s = t
        plain = networks.u(z[tail], t[tail], s[tail], *condition.rows(tail)) if jumps < len(z) else None
        velocity = guided_velocity(self.guidance, networks, batch, draws, moment, plain)

        predictions = [] if plain is None else [plain]
        target = velocity
        terms = {}
        if jumps:
            jump, derivative = self.derivative(
                networks, z[head], t[head], s[head], condition.rows(head), velocity[head]
            )
            predictions.insert(0, jump)
            # (1) u = v - (t - s) du/dt where s < t, (2) u = v where s = t.
            target = torch.cat([velocity[head] - per_sample((t - s)[head], z) * derivative, velocity[tail]])
            terms = {"derivative": mean_square(derivative), "loss/jump": mean_square(jump - target[head])}
        prediction = torch.cat(predictions)
        if jumps < len(z):
            terms["loss/velocity"] = mean_square((prediction - target)[tail])
        weight = adaptive(prediction - target, self.adaptive_power, self.adaptive_constant)
        return Target(prediction, target, weight, terms)

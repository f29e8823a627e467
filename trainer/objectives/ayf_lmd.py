"""AYF-LMD (Align Your Flow, arXiv 2506.14603): a teacher's flow map, by moving where its jumps end."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch

from models.flow_map import per_sample
from trainer.objectives.parts.align_your_flow import AlignYourFlow
from trainer.objectives.parts.autoguidance import taught_velocity
from trainer.objectives.parts.moment import Moment
from trainer.objectives.parts.objective import Draws
from trainer.objectives.parts.target import Batch, Networks, Target, mean_square


class LagrangianMapDistillation(AlignYourFlow):
    """Regress u so that where a jump ends moves, with its end time, along the teacher's flow.

        target = v(z_s, s) + (t - s) du-/ds,  z_s = z - (t - s) u-(z, t, s)
        g = (u- - v(z_s, s)) - r (t - s) du-/ds
        loss = ||u - sg(u- - g / (||g|| + c))||^2

    (the paper's AYF-LMD loss, with the warm-up and the normalisation of AYF-EMD; at r = 1 without normalisation u is
    regressed on the target.) The teacher is asked where the map lands, not where the data lie, so that an early map's
    errors feed on themselves: in the paper's ablation it is far behind AYF-EMD on images.
    """

    reference: ClassVar[str] = "arXiv 2506.14603, AYF-LMD loss"

    method: Literal["ayf-lmd"] = "ayf-lmd"

    def __call__(self, networks: Networks, batch: Batch, draws: Draws, moment: Moment) -> Target:
        """The target of every row."""
        z, t, s, condition = batch.at(draws.t), draws.t, draws.s, batch.condition
        u, derivative = self.derivative(networks, z, t, s, condition, None)
        landed = z - per_sample(t - s, z) * u.detach()
        velocity = taught_velocity(networks, landed, s, condition)
        raw, step = self.tangent(u.detach() - velocity, -per_sample(t - s, z) * derivative, moment.step - 1)
        terms = {"loss/tangent": mean_square(raw), "derivative": mean_square(derivative)}
        return Target(u, u.detach() - step, torch.ones_like(t), terms)

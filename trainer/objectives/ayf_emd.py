"""AYF-EMD (Align Your Flow, arXiv 2506.14603): a teacher's flow map, by moving where its jumps start."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch

from models.flow_map import per_sample
from trainer.objectives.parts.adversarial import Adversarial
from trainer.objectives.parts.align_your_flow import AlignYourFlow
from trainer.objectives.parts.autoguidance import taught_velocity
from trainer.objectives.parts.moment import Moment
from trainer.objectives.parts.objective import Draws
from trainer.objectives.parts.target import Batch, Networks, Target, mean_square


class EulerianMapDistillation(AlignYourFlow, Adversarial):
    """Regress u so that where a jump ends does not change while its start moves along the teacher's flow.

        g = (u- - v) + r (t - s) du-/dt, du-/dt along (v, 1, 0)
        loss = ||u - sg(u- - g / (||g|| + c))||^2

    (the paper's AYF-EMD loss and algorithm 1.) Not normalised, the loss has the gradient 2 g in u: for s = 0 that of a
    continuous-time consistency model, for s = t that of flow matching on the teacher. v enters as a value, and in the
    derivative the strength of autoguidance stays fixed. The law of the times and the number of warm-up steps are those
    of unofficial ports and of sCM; the authors have published no code. A last, adversarial phase judges the jumps from
    z_t to the data.
    """

    reference: ClassVar[str] = "arXiv 2506.14603, AYF-EMD loss and algorithm 1"

    method: Literal["ayf-emd"] = "ayf-emd"

    def __call__(self, networks: Networks, batch: Batch, draws: Draws, moment: Moment) -> Target:
        """The target of every row."""
        z, t, s, condition = batch.at(draws.t), draws.t, draws.s, batch.condition
        velocity = taught_velocity(networks, z, t, condition)
        u, derivative = self.derivative(networks, z, t, s, condition, velocity)
        raw, step = self.tangent(u.detach() - velocity, per_sample(t - s, z) * derivative, moment.step - 1)
        terms = {"loss/tangent": mean_square(raw), "derivative": mean_square(derivative)}
        fake = None
        if self.adversary is not None and self.adversary.active(moment.step):
            fake = z - per_sample(t, z) * networks.u(z, t, torch.zeros_like(t), *condition)
        return Target(u, u.detach() - step, torch.ones_like(t), terms, fake=fake)

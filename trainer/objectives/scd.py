"""sCD (Lu and Song, arXiv 2410.11081): the end of a teacher's flow in one jump, in the limit of small steps."""

from __future__ import annotations

from typing import ClassVar, Literal

from trainer.objectives.parts.moment import Moment
from trainer.objectives.parts.objective import Draws
from trainer.objectives.parts.scm import ContinuousConsistency
from trainer.objectives.parts.target import Batch, Networks, Target


class ContinuousConsistencyDistillation(ContinuousConsistency):
    """Regress the jump to the data so that it stays the same along a teacher's flow.

        dx/dtau = sigma_d F_teacher(x / sigma_d, tau), which is v_teacher(z, t) on the linear path

    in g of `ContinuousConsistency` (algorithm 1 of the paper). g is a function of z and t alone and is zero where the
    map is the teacher's, so that neither the warm-up nor the normalisation move the point of rest. The paper's students
    begin with the teacher's weights: --init; without, the warm-up begins with the teacher's velocity.
    """

    reference: ClassVar[str] = "arXiv 2410.11081, eq. 8 and algorithm 1"
    teacher: ClassVar[Literal["none", "required"]] = "required"

    method: Literal["scd"] = "scd"

    def __call__(self, networks: Networks, batch: Batch, draws: Draws, moment: Moment) -> Target:
        """z moves along the teacher's velocity."""
        assert networks.teacher is not None
        velocity = networks.teacher(batch.at(draws.t), draws.t, batch.condition.label)
        return self.consistency(networks, batch, draws, velocity, moment.step - 1)

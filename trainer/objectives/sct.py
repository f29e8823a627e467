"""sCT (Lu and Song, arXiv 2410.11081): a map to the data that agrees with itself, in the limit of small steps."""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import Generator

from trainer.objectives.flow_matching import FlowMatching
from trainer.objectives.parts.flow_first import FlowFirst
from trainer.objectives.parts.moment import Moment
from trainer.objectives.parts.objective import Draws
from trainer.objectives.parts.scm import ContinuousConsistency
from trainer.objectives.parts.target import Batch, Networks, Target


class ContinuousConsistencyTraining(ContinuousConsistency, FlowFirst):
    """Regress the jump to the data so that it stays the same along pairs of data and noise.

        dx/dtau = cos tau sigma_d x1 - sin tau x0, which is v_c = x1 - x0 on the linear path

    in g of `ContinuousConsistency` (algorithm 1 of the paper). g is affine in v_c, so that its mean over the pairs
    through z is that of the flow's own velocity; normalised it is so only where all pairs have about the same norm of
    g, as in many dimensions. `--init CHECKPOINT` gives the trained network that it begins with; without, the first
    `flow_matching_steps` train it, with the same law of t, and the warm-up begins after them.
    """

    reference: ClassVar[str] = "arXiv 2410.11081, eq. 8 and algorithm 1"

    method: Literal["sct"] = "sct"

    def regressed(self, steps: int) -> int:
        """Those after the first phase."""
        return steps - self.first(steps)

    def draw(self, rows: int, generator: Generator, moment: Moment) -> Draws:
        """A time; in flow matching s = t."""
        draws = super().draw(rows, generator, moment)
        return Draws(draws.t, draws.t) if self.tuned(moment) < 0 else draws

    def __call__(self, networks: Networks, batch: Batch, draws: Draws, moment: Moment) -> Target:
        """z moves along the pair's velocity."""
        done = self.tuned(moment)
        if done >= 0:
            return self.consistency(networks, batch, draws, batch.velocity, done)
        target = FlowMatching()(networks, batch, draws, moment)
        if networks.companion is None:
            return target
        return target._replace(also=0 * self.log_variance(networks, draws.t))  # each step must give it a gradient

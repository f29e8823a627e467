"""What the methods have in common that tune a trained flow: without one, they begin by training it."""

from __future__ import annotations

from pydantic import Field, NonNegativeInt

from trainer.objectives.parts.moment import Moment
from trainer.objectives.parts.objective import Objective


class FlowFirst(Objective):
    """A first phase of flow matching, for a run that is not given a trained network."""

    flow_matching_steps: NonNegativeInt = Field(
        1000, description="first steps, where no checkpoint is given to tune; half of the run at most"
    )

    def first(self, steps: int) -> int:
        """Length of the first phase of a run of `steps`, so that a short one shall reach its second phase."""
        return min(self.flow_matching_steps, steps // 2)

    def tuned(self, moment: Moment) -> int:
        """Steps after the first phase that were done before this one; below 0 within it."""
        return moment.step - 1 - self.first(moment.steps)

    def notes(self, steps: int) -> list[str]:
        """Says the first phase, and what would spare it."""
        told = super().notes(steps)
        if first := self.first(steps):
            told.append(
                f"{self.method}: the first {first:,} steps are flow matching; --init CHECKPOINT: a trained network "
                "instead"
            )
        return told

"""What the methods have in common whose last phase may have a discriminator."""

from __future__ import annotations

from pydantic import Field

from trainer.objectives.parts.adversary import Adversary
from trainer.objectives.parts.objective import Objective


class Adversarial(Objective):
    """An adversarial phase, which begins once the map has learned jumps, and ends with the run."""

    adversary: Adversary | None = Field(None, description="a last phase, with a discriminator")

    def check_steps(self, steps: int) -> None:
        """Raise ValueError where the phase would begin after the last step."""
        super().check_steps(steps)
        if self.adversary is not None and not self.adversary.active(steps):
            raise ValueError(
                f"objective.adversary.start_step is {self.adversary.start_step}, after the last step; give an earlier "
                "one, or a larger run.steps"
            )

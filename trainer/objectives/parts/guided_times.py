"""What the methods have in common that learn jumps between two times a row, and guided velocities where s = t."""

from __future__ import annotations

from typing import ClassVar, Self

from pydantic import model_validator

from models.checkpoint import GuidanceInput
from models.flow_map import Span
from trainer.objectives.parts.guidance import Guidance, late, refuse_untrained_null
from trainer.objectives.parts.objective import Objective
from trainer.objectives.parts.times import TwoTimes


class GuidedTimes(Objective):
    """Two times a row, and guidance inside the target."""

    span: ClassVar[Span] = "any"

    times: TwoTimes = TwoTimes()
    guidance: Guidance = Guidance()

    @model_validator(mode="after")
    def _null_label_is_trained(self) -> Self:
        refuse_untrained_null(self.guidance, self.label_dropout)
        return self

    @property
    def guidance_input(self) -> GuidanceInput | None:
        """The scales that the network is told, where guidance has a range."""
        return self.guidance.input

    @property
    def guided(self) -> str | None:
        """The scale or the range of the guidance in the target."""
        return self.guidance.scales if self.guidance.guides else None

    def guides_by(self, step: int) -> bool:
        """Whether guidance has begun."""
        return self.guidance.active(step)

    def scale_of(self, step: int) -> float | None:
        """That of the velocities in the target, which jumps inherit; of jumps alone it is another map's."""
        if self.guides_by(step):
            return self.guidance.scale
        return 1.0 if self.times.jumps < 1 else None

    def check_batch(self, rows: int) -> None:
        """Raise ValueError for a batch without a jump."""
        if self.times.jumps == 0:
            raise ValueError("objective.times.jumps is 0, so no jump would be learned; that is flow-matching")
        if self.times.count(rows) < 1:
            needed = next(n for n in range(rows, 10**9) if self.times.count(n))
            raise ValueError(
                f"of {rows} rows the share objective.times.jumps={self.times.jumps:g} is none, so no jump would be "
                f"learned; it takes run.batch={needed} or more"
            )

    def notes(self, steps: int) -> list[str]:
        """Says guidance that never begins."""
        told = super().notes(steps)
        return told if self.guided is None else [*told, *late(self.guidance.start_step, steps)]

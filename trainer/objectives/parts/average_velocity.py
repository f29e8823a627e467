"""What the methods have in common that learn the average velocity over every [s, t] from data, without a teacher."""

from __future__ import annotations

from typing import ClassVar, Self

from pydantic import model_validator
from torch import Generator

from models.checkpoint import GuidanceInput
from models.flow_map import Span
from trainer.objectives.parts.guidance import Guidance, late, refuse_untrained_null
from trainer.objectives.parts.moment import Moment
from trainer.objectives.parts.objective import STOP_GRADIENT, Draws, Objective
from trainer.objectives.parts.tangent import Derivative
from trainer.objectives.parts.times import TwoTimes


class AverageVelocity(Objective):
    """Two times a row, guidance inside the target, and a derivative of the network along the flow."""

    span: ClassVar[Span] = "any"
    jvp: ClassVar[bool] = True
    no_average: ClassVar[str | None] = STOP_GRADIENT

    times: TwoTimes = TwoTimes()
    guidance: Guidance = Guidance()
    derivative: Derivative = Derivative()

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

    def draw(self, rows: int, generator: Generator, moment: Moment) -> Draws:
        """Two times a row, the jumps first, and a scale where the network is told it."""
        t, s = self.times.draw(rows, generator)
        return Draws(t, s, self.times.count(rows), self.guidance.draw(rows, generator))

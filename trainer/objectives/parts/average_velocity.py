"""What the methods have in common that learn the average velocity over every [s, t] from data, without a teacher."""

from __future__ import annotations

from typing import ClassVar

from torch import Generator

from trainer.objectives.parts.guided_times import GuidedTimes
from trainer.objectives.parts.moment import Moment
from trainer.objectives.parts.objective import STOP_GRADIENT, Draws
from trainer.objectives.parts.tangent import Derivative


class AverageVelocity(GuidedTimes):
    """Two times a row, guidance inside the target, and a derivative of the network along the flow."""

    jvp: ClassVar[bool] = True
    no_average: ClassVar[str | None] = STOP_GRADIENT

    derivative: Derivative = Derivative()

    def draw(self, rows: int, generator: Generator, moment: Moment) -> Draws:
        """Two times a row, the jumps first, and a scale where the network is told it."""
        t, s = self.times.draw(rows, generator)
        return Draws(t, s, self.times.count(rows), self.guidance.draw(rows, generator))

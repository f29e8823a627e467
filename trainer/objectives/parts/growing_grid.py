"""What consistency training and its improved form have in common: neighbours on a grid that grows finer."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, Self

from pydantic import PositiveInt, model_validator

from models.flow_map import Span
from trainer.objectives.parts.consistency import RENOISE
from trainer.objectives.parts.levels import Karras, Levels
from trainer.objectives.parts.moment import Moment
from trainer.objectives.parts.objective import Objective
from trainer.objectives.parts.sampler import Sampler


class GrowingGrid(Objective):
    """A jump to the data, on noise levels whose number follows the run."""

    span: ClassVar[Span] = "endpoint"

    sampler: Sampler = RENOISE
    levels: Levels = Karras()
    first: PositiveInt
    last: PositiveInt

    @model_validator(mode="after")
    def _grows(self) -> Self:
        if self.first > self.last:
            raise ValueError(f"first is {self.first}, more than last, {self.last}; the grid grows over the run")
        return self

    @property
    def t_max(self) -> float:
        """The highest level."""
        return self.levels.t_max

    @abstractmethod
    def count(self, moment: Moment) -> int:
        """N(k), the levels of the grid at a step."""

"""How alpha-Flow's alpha falls over a run."""

from __future__ import annotations

import math

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, model_validator

from trainer.objectives.parts.moment import Moment


class Curriculum(BaseModel):
    """From 1 to 0 along a sigmoid between two moments of the run (arXiv 2510.20771, k_s and k_e there).

        alpha = 1 - sigmoid(gamma (k - (start + end) / 2) / (end - start))

    with k the share of the run that lies behind. Within `clamp` of 1 or 0 it is 1 or 0, and so it is before `start` and
    after `end`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    start: float = Field(0.0, ge=0, le=1, description="share of the run at which alpha begins to fall")
    end: float = Field(1.0, ge=0, le=1, description="share of the run at which it has fallen")
    gamma: PositiveFloat = Field(25.0, description="steepness: in the middle alpha falls by gamma / 4 of the way")
    clamp: float = Field(0.005, gt=0, lt=0.5)

    @model_validator(mode="after")
    def _falls(self) -> Curriculum:
        if self.start >= self.end:
            raise ValueError(f"start is {self.start:g}, not before end {self.end:g}: alpha falls in between")
        return self

    def alpha(self, moment: Moment) -> float:
        """alpha at a moment, in [0, 1]."""
        share = moment.share
        if not self.start <= share <= self.end:
            return float(share < self.start)
        middle = (self.start + self.end) / 2
        alpha = 1 / (1 + math.exp(self.gamma * (share - middle) / (self.end - self.start)))
        return 0.0 if alpha < self.clamp else 1.0 if alpha > 1 - self.clamp else alpha

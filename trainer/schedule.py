"""The learning rate as a function of the step."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator


class Schedule(BaseModel):
    """A linear warm-up, then a shape, then a linear fall to zero over the last `decay_steps`.

    The shape is `constant`; `cosine`, half a cosine from the end of the warm-up to zero after the last step; or
    `inverse-sqrt`, lr / sqrt(max(step / reference_step, 1)) (EDM2, Karras et al., arXiv 2312.02696, appendix B), which
    knows no end, so that a longer run only goes on.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    lr: float = Field(1e-3, gt=0, le=10, description="the highest learning rate")
    schedule: Literal["constant", "cosine", "inverse-sqrt"] = "constant"
    warmup_steps: int = Field(100, ge=0)
    decay_steps: int = Field(0, ge=0, description="the last steps, over which the rate falls to zero")
    reference_step: PositiveInt | None = Field(None, description="of inverse-sqrt: the last step at the full rate")

    @model_validator(mode="after")
    def _reference(self) -> Schedule:
        if self.schedule == "inverse-sqrt" and self.reference_step is None:
            raise ValueError("schedule inverse-sqrt needs reference_step, the last step at the full rate")
        if self.schedule != "inverse-sqrt" and self.reference_step is not None:
            raise ValueError(f"reference_step is of schedule inverse-sqrt; the schedule is {self.schedule}")
        return self

    def rate(self, step: int, steps: int) -> float:
        """Learning rate of step `step`, counted from 1, in a run of `steps`; never zero."""
        warm = min(1.0, step / self.warmup_steps) if self.warmup_steps else 1.0
        left = min(1.0, (steps - step + 1) / self.decay_steps) if self.decay_steps else 1.0
        return self.lr * warm * left * self._shape(step, steps)

    def _shape(self, step: int, steps: int) -> float:
        if self.schedule == "cosine" and step > self.warmup_steps:
            return 0.5 + 0.5 * math.cos(math.pi * (step - self.warmup_steps - 1) / (steps - self.warmup_steps))
        if self.reference_step is not None:
            return max(step / self.reference_step, 1.0) ** -0.5
        return 1.0

"""Align Your Flow (Sabour et al., arXiv 2506.14603): what its two ways to distil a flow map have in common."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field
from torch import Generator

from models.checkpoint import GuidanceInput
from models.flow_map import Span
from trainer.objectives.parts.autoguidance import Autoguidance
from trainer.objectives.parts.moment import Moment
from trainer.objectives.parts.normalised_tangent import NormalisedTangent
from trainer.objectives.parts.objective import STOP_GRADIENT, Draws, Objective
from trainer.objectives.parts.sampler import Gamma, Sampler
from trainer.objectives.parts.tangent import Derivative
from trainer.objectives.parts.times import Interval


class AlignYourFlow(Objective):
    """A flow map of any span from a teacher's velocity, autoguided where there is a weak teacher."""

    span: ClassVar[Span] = "any"
    teacher: ClassVar[Literal["none", "required"]] = "required"
    jvp: ClassVar[bool] = True
    no_average: ClassVar[str | None] = STOP_GRADIENT

    sampler: Sampler = Gamma()
    times: Interval = Interval()
    tangent: NormalisedTangent = NormalisedTangent(warmup_limit=0.99)
    autoguidance: Autoguidance | None = Field(Autoguidance(), description="null, or without a weak teacher: none")
    derivative: Derivative = Derivative()

    @property
    def guidance_input(self) -> GuidanceInput | None:
        """The strengths of autoguidance that the network is told."""
        return self.autoguidance.input if self.autoguidance is not None else None

    @property
    def guided(self) -> str | None:
        """Their range."""
        return self.autoguidance.scales if self.autoguidance is not None else None

    @property
    def needs_labels(self) -> bool:
        """Autoguidance has another network to lead away from, not the null label's answer."""
        return False

    def notes(self, steps: int) -> list[str]:
        """Says a warm-up that is cut off."""
        return [*super().notes(steps), *self.tangent.notes(steps)]

    def draw(self, rows: int, generator: Generator, moment: Moment) -> Draws:
        """The ends of an interval, and a strength where the network is told it."""
        t, s = self.times.draw(rows, generator)
        strength = self.autoguidance.draw(rows, generator) if self.autoguidance is not None else None
        return Draws(t, s, rows, strength)

"""A teacher led away from a worse model of the same data, with the strength as an input of the student."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Generator, Tensor

from models.checkpoint import GuidanceInput
from models.flow_map import per_sample
from trainer.objectives.parts.target import Condition, Networks

Strength = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Autoguidance(BaseModel):
    """Autoguidance (Karras et al., arXiv 2406.02507) inside distillation (Align Your Flow, arXiv 2506.14603, section
    3.3).

        v = lambda v_teacher + (1 - lambda) v_weak

    The weak teacher is smaller, or trained for less; it errs where the teacher errs, but more. lambda = 1 is the
    teacher. Each row draws its own, and the student is told it, so that it is chosen when a sample is asked for. Unlike
    guidance by a label it needs no labels.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    range: tuple[Strength, Strength] = Field((1.0, 3.0), description="values of lambda that the network is told")
    law: Literal["uniform", "log-uniform"] = Field("uniform", description="of lambda")
    default: Strength | None = Field(None, description="used when none is asked for; None: the median of the law")

    @model_validator(mode="after")
    def _ordered(self) -> Autoguidance:
        low, high = self.range
        if high < low:
            raise ValueError(f"range is [{low:g}, {high:g}]: the smaller value comes first")
        if self.default is not None and not low <= self.default <= high:
            raise ValueError(f"default is {self.default:g}, outside the range {low:g} to {high:g}")
        return self

    @property
    def input(self) -> GuidanceInput:
        """The values that the network is told."""
        low, high = self.range
        median = (low + high) / 2 if self.law == "uniform" else math.sqrt(low * high)
        # Two decimals, so that what a command prints can be typed again.
        default = self.default if self.default is not None else min(max(round(median, 2), low), high)
        return GuidanceInput(min=low, max=high, default=default)

    @property
    def scales(self) -> str:
        """The range, for a person: `1 to 3`."""
        return f"{self.range[0]:g} to {self.range[1]:g}"

    def draw(self, rows: int, generator: Generator) -> Tensor:
        """lambda of each row, [rows]."""
        low, high = self.range
        share = torch.rand(rows, generator=generator, device=generator.device)
        scale = low + (high - low) * share if self.law == "uniform" else low * (high / low) ** share
        return scale.clamp(low, high)  # rounding may lead outside


def taught_velocity(networks: Networks, z: Tensor, t: Tensor, condition: Condition) -> Tensor:
    """The velocity that a student learns from, [B, ...], without gradient: the teacher's, autoguided in rows whose
    condition has a lambda.

    Args:
        z: [B, ...], at t [B].
        condition: of the same rows.

    Raises:
        ValueError: a lambda without a weak teacher.
    """
    assert networks.teacher is not None
    velocity = networks.teacher(z, t, condition.label)
    if condition.guidance is None:
        return velocity
    if networks.weak is None:
        raise ValueError("autoguidance needs a weak teacher: --weak-teacher CHECKPOINT, or autoguidance: null")
    strength = per_sample(condition.guidance, z)
    return strength * velocity + (1 - strength) * networks.weak(z, t, condition.label)

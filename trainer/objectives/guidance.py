"""Classifier-free guidance inside the training target, so that sampling needs no second evaluation."""

from __future__ import annotations

import math

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from models.flow_map import per_sample
from trainer.objectives.target import Batch


class Guidance(BaseModel):
    """MeanFlow's guided velocity (arXiv 2505.13447, eq. 21 and appendix A).

        v_g = omega v_c + kappa u(z, t, t | c) + (1 - omega - kappa) u(z, t, t | null)

    At its fixed point the learned velocity is guided by the effective scale omega / (1 - kappa); 1 is the plain
    conditional model. Rows whose label was dropped, or whose t lies outside [t_start, t_end], keep v_c.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    omega: float = Field(1.0, gt=0)
    kappa: float = Field(0.0, ge=0, lt=1)
    t_start: float = Field(0.0, ge=0, le=1)
    t_end: float = Field(1.0, ge=0, le=1)
    start_step: int = Field(0, ge=0, description="the first guided step; the mix means something once u does")

    @model_validator(mode="after")
    def _interval(self) -> Guidance:
        if self.t_start > self.t_end:
            raise ValueError(f"t_start is {self.t_start:g}, after t_end {self.t_end:g}: no time would be guided")
        return self

    @property
    def scale(self) -> float:
        """Effective guidance scale of the trained map."""
        return self.omega / (1 - self.kappa)

    @property
    def guides(self) -> bool:
        """Whether the scale is another than 1, the plain conditional model's."""
        return not math.isclose(self.scale, 1)

    def active(self, step: int) -> bool:
        """Whether the target is guided at this step."""
        return self.guides and step >= self.start_step

    def velocity(self, batch: Batch, t: Tensor, conditional: Tensor, unconditional: Tensor) -> Tensor:
        """v_g, [B, ...].

        Args:
            batch: the training pairs.
            t: their times, [B].
            conditional: u(z, t, t | c), [B, ...]; not looked at where kappa is 0.
            unconditional: u(z, t, t | null), [B, ...].
        """
        guided = self.omega * batch.velocity + (1 - self.omega - self.kappa) * unconditional
        if self.kappa:
            guided = guided + self.kappa * conditional
        plain = batch.dropped | (t < self.t_start) | (t > self.t_end)
        return torch.where(per_sample(plain, guided), batch.velocity, guided)

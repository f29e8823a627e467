"""Where on the path a training pair is looked at."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat
from torch import Generator, Tensor


class Uniform(BaseModel):
    """Uniform on [0, 1]."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["uniform"] = "uniform"

    def draw(self, count: int, generator: Generator) -> Tensor:
        """[count] times in [0, 1)."""
        return torch.rand(count, generator=generator, device=generator.device)


class LogitNormal(BaseModel):
    """sigmoid of N(mean, std^2); the same law as EDM's log-normal on sigma = t / (1 - t)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["logit-normal"] = "logit-normal"
    mean: float = -0.4
    std: PositiveFloat = 1.0

    def draw(self, count: int, generator: Generator) -> Tensor:
        """[count] times in (0, 1)."""
        normal = torch.randn(count, generator=generator, device=generator.device)
        return torch.sigmoid(self.mean + self.std * normal)


TimeLaw = Annotated[Uniform | LogitNormal, Field(discriminator="kind")]


class TwoTimes(BaseModel):
    """The law of (t, s) in MeanFlow (arXiv 2505.13447, section 4.3; `min` is the authors' later CIFAR-10 sampler).

    `swap` orders two draws so that s <= t; `min` keeps t's law and clips s to it, which leaves some of the jumps with
    s = t. The first rows of a batch, a share `jumps`, are the jumps, so that those that need a Jacobian-vector product
    lie together; the rest has s = t, with t from its own law (the authors keep the larger of two draws there).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    t: TimeLaw = LogitNormal()
    s: TimeLaw = LogitNormal()
    order: Literal["swap", "min"] = "swap"
    jumps: float = Field(0.25, ge=0, le=1, description="share of rows with s < t")

    def count(self, rows: int) -> int:
        """How many of `rows` are jumps."""
        return round(self.jumps * rows)

    def draw(self, rows: int, generator: Generator) -> tuple[Tensor, Tensor]:
        """(t, s), each [rows], s <= t; s = t after the first `count(rows)`."""
        t, s = self.t.draw(rows, generator), self.s.draw(rows, generator)
        if self.order == "swap":
            t, s = torch.maximum(t, s), torch.minimum(t, s)
            own = self.t.draw(rows, generator)
            t = torch.where(torch.arange(rows, device=t.device) < self.count(rows), t, own)
        else:
            s = torch.minimum(t, s)
        s = torch.where(torch.arange(rows, device=t.device) < self.count(rows), s, t)
        return t, s


class Interval(BaseModel):
    """The law of (t, s) in Align Your Flow: first the length of the interval, then where it lies, evenly.

        t - s = sigmoid(N(mean, std^2)),  s uniform on [0, 1 - (t - s)]

    (arXiv 2506.14603, as unofficial ports have it; the authors' own is not published.)
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    length: TimeLaw = LogitNormal(mean=-0.8, std=1.0)

    def draw(self, rows: int, generator: Generator) -> tuple[Tensor, Tensor]:
        """(t, s), each [rows], s <= t."""
        length = self.length.draw(rows, generator)
        s = (1 - length) * torch.rand(rows, generator=generator, device=generator.device)
        return (s + length).clamp(max=1), s

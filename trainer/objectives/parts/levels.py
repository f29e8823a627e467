"""Grids of noise levels for consistency models of finite steps: where they lie, how many, and which are drawn.

Levels rise from the data to noise. A grid of N levels has N - 1 intervals; a row of a batch looks at one, from its
upper end t to its lower end m.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, model_validator
from torch import Generator, Tensor

from trainer.objectives.parts.coordinates import time_of


class Karras(BaseModel):
    """EDM's noise levels (Karras et al., arXiv 2206.00364, eq. 5): even in sigma^(1/rho).

    The lowest of a grid is 0 in the place of sigma_min: a jump of the linear path is the identity at t = 0, as the
    published parametrisation makes it at sigma_min, so the interval above leads to the data.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["karras"] = "karras"
    sigma_min: PositiveFloat = 0.002
    sigma_max: PositiveFloat = 80.0
    rho: PositiveFloat = 7.0

    @model_validator(mode="after")
    def _rises(self) -> Karras:
        if self.sigma_min >= self.sigma_max:
            raise ValueError(f"sigma_min is {self.sigma_min:g}, not below sigma_max {self.sigma_max:g}")
        return self

    @property
    def t_max(self) -> float:
        """The time of sigma_max."""
        return time_of(self.sigma_max)

    def sigmas(self, count: int) -> Tensor:
        """[count] levels as published, from sigma_min to sigma_max, in float64."""
        low, high = (sigma ** (1 / self.rho) for sigma in (self.sigma_min, self.sigma_max))
        return torch.linspace(low, high, count, dtype=torch.float64) ** self.rho

    def times(self, count: int) -> Tensor:
        """[count] times that rise from 0 to t_max, in float64."""
        times = time_of(self.sigmas(count))
        times[0] = 0.0
        return times


class Even(BaseModel):
    """Times of the linear path at equal distances, from 0 to 1."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["even"] = "even"

    @property
    def t_max(self) -> float:
        """1: the path of these levels ends in pure noise."""
        return 1.0

    def times(self, count: int) -> Tensor:
        """[count] times that rise from 0 to 1, in float64."""
        return torch.linspace(0, 1, count, dtype=torch.float64)


Levels = Annotated[Karras | Even, Field(discriminator="kind")]


def square_root_count(share: float, first: int, last: int) -> int:
    """Levels after a share of the run, N(k) of consistency training (arXiv 2303.01469, appendix C).

        N = ceil(sqrt(share ((last + 1)^2 - first^2) + first^2) - 1) + 1

    It rises from `first` to `last` + 1, and so do the intervals, N - 1.
    """
    square = share * ((last + 1) ** 2 - first**2) + first**2
    return max(math.ceil(math.sqrt(square) - 1), 1) + 1


def doubling_count(step: int, steps: int, first: int, last: int) -> int:
    """Levels at a step, counted from 1, N(k) of iCT (arXiv 2310.14189, section 3.4).

        N = min(first 2^floor(k / K'), last) + 1, K' = floor(K / (log2(floor(last / first)) + 1))

    The intervals, N - 1, double from `first` to `last`, after equal shares of the run.
    """
    phase = max(math.floor(steps / (math.log2(last // first) + 1)), 1)
    # A short run has more phases than doublings; the power of a long one's last phase is harmless.
    doublings = min((step - 1) // phase, math.ceil(math.log2(last / first)))
    return min(first * 2**doublings, last) + 1


def uniform_interval(count: int, rows: int, generator: Generator) -> Tensor:
    """[rows] numbers of intervals, 0 the lowest, of a grid of `count` levels."""
    return torch.randint(count - 1, (rows,), generator=generator, device=generator.device)


def log_normal_mass(sigmas: Tensor, mean: float, std: float) -> Tensor:
    """[N - 1]: the share that each interval of rising levels [N] has of N(mean, std^2) on ln sigma (iCT, 3.5)."""
    cumulative = torch.erf((sigmas.log() - mean) / (math.sqrt(2) * std))
    mass = cumulative.diff()
    return mass / mass.sum()

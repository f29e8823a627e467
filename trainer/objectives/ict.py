"""Improved consistency training (Song and Dhariwal, arXiv 2310.14189): by the weights themselves, and other losses."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Generator

from trainer.objectives.parts.consistency import Neighbours, data_error, neighbours, to_the_data
from trainer.objectives.parts.coordinates import sigma_between
from trainer.objectives.parts.growing_grid import GrowingGrid
from trainer.objectives.parts.levels import Karras, doubling_count, log_normal_mass
from trainer.objectives.parts.moment import Moment
from trainer.objectives.parts.objective import STOP_GRADIENT, Draws
from trainer.objectives.parts.target import Batch, Networks, Target, mean_square
from trainer.objectives.parts.weighting import pseudo_huber


class ImprovedConsistencyTraining(GrowingGrid):
    """Consistency training by the weights themselves, on a grid that doubles, with a robust loss.

        target = two legs from t to 0: x1 - x0 to the level m below t, then sg(u) from there
        loss = (sqrt(||d||^2 + c^2) - c) / (sigma(t) - sigma(m)),  d = t (u - target),  c = huber sqrt(D)

    (Sections 3.1 to 3.5.) d is the difference of f(x + sigma_{n+1} n) and f(x + sigma_n n). The intervals double from
    `first` to `last` after equal shares of the run, and which one is looked at follows N(mean, std^2) on ln sigma. The
    loss that is logged as `loss` is the square with the weight that gives this one's gradient (`pseudo_huber`). With a
    small c a target is pulled to the median of what pairs say and not to their mean; a large one is the squared error.

    Deviation: the lowest level is 0 (see `Karras`); the law of the intervals is that of the published levels.
    """

    reference: ClassVar[str] = "arXiv 2310.14189, table 1"
    no_average: ClassVar[str | None] = STOP_GRADIENT

    method: Literal["ict"] = "ict"
    levels: Karras = Karras()
    first: PositiveInt = Field(10, description="s0, intervals of the grid when the run begins")
    last: PositiveInt = Field(1280, description="s1, intervals of the grid when it ends")
    mean: float = Field(-1.1, description="P_mean of ln sigma")
    std: PositiveFloat = Field(2.0, description="P_std of ln sigma")
    huber: float = Field(0.00054, ge=0, description="c / sqrt(D); 0: the norm")

    def count(self, moment: Moment) -> int:
        """N(k), the levels of the grid at a step."""
        return doubling_count(moment.step, moment.steps, self.first, self.last)

    def draw(self, rows: int, generator: Generator, moment: Moment) -> Neighbours:
        """Two neighbours on the grid of this step."""
        count = self.count(moment)
        mass = log_normal_mass(self.levels.sigmas(count), self.mean, self.std).to(generator.device)
        interval = torch.multinomial(mass, rows, replacement=True, generator=generator)
        return neighbours(self.levels.times(count), interval)

    def __call__(self, networks: Networks, batch: Batch, draws: Draws, moment: Moment) -> Target:
        """The first leg is along the pair, so that it ends at z_m of the same data and noise."""
        assert isinstance(draws, Neighbours)
        prediction, target = to_the_data(networks, batch, draws, batch.velocity)
        error = data_error(prediction, target, draws.t)
        robust = pseudo_huber(error, self.huber * math.sqrt(error[0].numel()))
        weight = draws.t.square() * robust / sigma_between(draws.m, draws.t)
        levels = torch.full_like(weight, self.count(moment))
        return Target(prediction, target, weight, {"loss/consistency": mean_square(error), "levels": levels})

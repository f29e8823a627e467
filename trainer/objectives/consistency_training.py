"""Consistency training (Song et al., arXiv 2303.01469): a map to the data that agrees with itself between levels."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
from pydantic import Field, PositiveInt
from torch import Generator

from trainer.objectives.parts.consistency import Neighbours, data_error, neighbours, to_the_data
from trainer.objectives.parts.growing_grid import GrowingGrid
from trainer.objectives.parts.levels import square_root_count, uniform_interval
from trainer.objectives.parts.moment import Moment
from trainer.objectives.parts.objective import Draws
from trainer.objectives.parts.target import Batch, Networks, Target, mean_square


class ConsistencyTraining(GrowingGrid):
    """Regress the jump to the data on that of the same pair one noise level lower, by averaged weights.

        target = two legs from t to 0: x1 - x0 to the level m below t, then u- from there
        loss = t^2 ||u - target||^2 / D

    (eq. 10 and algorithm 3; in its words the loss is ||f(x + sigma_{n+1} n) - f-(x + sigma_n n)||^2 / D, of weight 1.)
    The grid grows over the run by N(k), from `first` to `last` intervals, and the decay of the averaged weights with
    it: mu(k) = exp(first ln(target_ema) / N(k)). What it learns has the bias of its grid: of Euler's steps down it
    (`trainer.oracle.fixed_points.ve_consistency_slope`) and, where data is not Gaussian, of a pair's velocity inside u.

    Deviations: the squared error only, since the weights of LPIPS cannot be shipped, and they know ImageNet, by which
    images are judged (iCT, arXiv 2310.14189, section 3.3); the lowest level is 0 (see `Karras`).
    """

    reference: ClassVar[str] = "arXiv 2303.01469, eq. 10 and algorithm 3"

    method: Literal["ct"] = "ct"
    target_ema: float | None = Field(
        0.9,
        gt=0,
        lt=1,
        description="mu0: decay of the averaged weights that make targets, at `first` levels; null: no average",
    )
    first: PositiveInt = Field(2, description="s0, intervals of the grid when the run begins (1 at its first step)")
    last: PositiveInt = Field(150, description="s1, intervals of the grid when it ends")

    def count(self, moment: Moment) -> int:
        """N(k), the levels of the grid at a step."""
        return square_root_count(moment.share, self.first, self.last)

    def decay(self, moment: Moment) -> float | None:
        """mu(k), the closer to 1 the finer the grid."""
        if self.target_ema is None:
            return None
        return math.exp(self.first * math.log(self.target_ema) / self.count(moment))

    def draw(self, rows: int, generator: Generator, moment: Moment) -> Neighbours:
        """Two neighbours on the grid of this step."""
        count = self.count(moment)
        return neighbours(self.levels.times(count), uniform_interval(count, rows, generator))

    def __call__(self, networks: Networks, batch: Batch, draws: Draws, moment: Moment) -> Target:
        """The first leg is along the pair, so that it ends at z_m of the same data and noise."""
        assert isinstance(draws, Neighbours)
        prediction, target = to_the_data(networks, batch, draws, batch.velocity)
        error = data_error(prediction, target, draws.t)
        weight = draws.t.square() / target[0].numel()
        levels = torch.full_like(weight, self.count(moment))
        return Target(prediction, target, weight, {"loss/consistency": mean_square(error), "levels": levels})

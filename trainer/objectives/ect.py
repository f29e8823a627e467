"""Easy consistency tuning (Geng et al., arXiv 2406.14548): from a trained flow to a jump, by ever smaller steps."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Generator, Tensor

from models.build import AnyArchitecture
from models.flow_map import Span
from trainer.objectives.flow_matching import FlowMatching
from trainer.objectives.parts.consistency import RENOISE, Neighbours, data_error, to_the_data
from trainer.objectives.parts.coordinates import sigma_between, sigma_of, time_of
from trainer.objectives.parts.flow_first import FlowFirst
from trainer.objectives.parts.moment import Moment
from trainer.objectives.parts.objective import STOP_GRADIENT, Draws
from trainer.objectives.parts.sampler import Sampler
from trainer.objectives.parts.sigma_data import refuse_another
from trainer.objectives.parts.target import Batch, Networks, Target, mean_square
from trainer.objectives.parts.times import LogitNormal
from trainer.objectives.parts.weighting import pseudo_huber


class EasyConsistencyTuning(FlowFirst):
    """Tune a trained flow to jump to the data: a denoiser that learns to agree with itself at ever closer levels.

        sigma(m) = max(0, sigma(t) (1 - (1 + k sigmoid(-b sigma(t))) / q^(stage + 1)))
        target = two legs from t to 0: x1 - x0 to m, then sg(u) from there
        loss = w (sqrt(||d||^2 + c^2) - c),  d = t (u - target),  c = huber sqrt(D)

    (Section 3 and the authors' code.) At first m is 0 for most t, which is the loss of a denoiser; a network of one
    time that was trained by flow matching is one. `--init CHECKPOINT` gives it; without, the first
    `flow_matching_steps` train it, with the same law of t. The stages have equal shares of the steps that follow. w is
    1 / (sigma(t) - sigma(m)), or `edm`: EDM's weight of a denoiser, 1 / sigma^2 + 1 / sigma_data^2. The loss that is
    logged as `loss` is the square with the weight that gives this one's gradient.

    Deviation: noise levels above `sigma_max`, where sampling begins and the authors' law has 0.3 % of its rows, are
    taken at sigma_max.
    """

    span: ClassVar[Span] = "endpoint"
    reference: ClassVar[str] = "arXiv 2406.14548, section 3"
    no_average: ClassVar[str | None] = STOP_GRADIENT

    method: Literal["ect"] = "ect"
    sampler: Sampler = RENOISE
    t: LogitNormal = Field(LogitNormal(mean=-1.1, std=2.0), description="log-normal law of sigma")
    sigma_max: PositiveFloat = 80.0
    q: float = Field(2.0, gt=1, description="by which factor a stage brings m closer to t")
    stages: PositiveInt = 8
    k: float = Field(8.0, ge=0, description="how much closer it is at high noise than at low")
    b: PositiveFloat = Field(1.0, description="the inverse of the noise level at which that changes")
    weight: Literal["gap", "edm"] = "gap"
    sigma_data: PositiveFloat = Field(0.5, description="of weight edm")
    huber: float = Field(0.0, ge=0, description="c / sqrt(D); 0: the norm")

    @property
    def t_max(self) -> float:
        """The time of sigma_max."""
        return time_of(self.sigma_max)

    def check_model(self, model: AnyArchitecture) -> None:
        """Raise ValueError where the network counts on another standard deviation of the data than the weight."""
        super().check_model(model)
        if self.weight == "edm":
            refuse_another(self.sigma_data, model)

    def stage(self, moment: Moment) -> int | None:
        """Which of the stages a step is in, from 0; None in flow matching."""
        done = self.tuned(moment)
        return None if done < 0 else self.stages * done // (moment.steps - self.first(moment.steps))

    def lower(self, t: Tensor, stage: int) -> Tensor:
        """m of a time, [B]."""
        sigma = sigma_of(t)
        near = 1 - (1 + self.k * torch.sigmoid(-self.b * sigma)) / self.q ** (stage + 1)
        return time_of((sigma * near).clamp(min=0))

    def draw(self, rows: int, generator: Generator, moment: Moment) -> Draws:
        """A time and the lower one, or a time alone in flow matching."""
        t, stage = self.t.draw(rows, generator).clamp(max=self.t_max), self.stage(moment)
        if stage is None:
            return Draws(t, t)
        return Neighbours(t, torch.zeros_like(t), jumps=rows, m=self.lower(t, stage))

    def __call__(self, networks: Networks, batch: Batch, draws: Draws, moment: Moment) -> Target:
        """The first leg is along the pair, so that it ends at z_m of the same data and noise."""
        if not isinstance(draws, Neighbours):
            return FlowMatching()(networks, batch, draws, moment)
        prediction, target = to_the_data(networks, batch, draws, batch.velocity)
        error = data_error(prediction, target, draws.t)
        robust = pseudo_huber(error, self.huber * math.sqrt(error[0].numel()))
        weight = draws.t.square() * robust * self._weight(draws)
        return Target(prediction, target, weight, {"loss/consistency": mean_square(error)})

    def _weight(self, draws: Neighbours) -> Tensor:
        if self.weight == "gap":
            return 1 / sigma_between(draws.m, draws.t)
        return sigma_of(draws.t) ** -2 + self.sigma_data**-2

"""Consistency distillation (Song et al., arXiv 2303.01469): the end of a teacher's flow in one jump, level by level."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field
from torch import Generator

from models.flow_map import Span
from trainer.objectives.parts.consistency import RENOISE, Neighbours, data_error, neighbours, to_the_data
from trainer.objectives.parts.levels import Karras, Levels, uniform_interval
from trainer.objectives.parts.moment import Moment
from trainer.objectives.parts.objective import Draws, Objective
from trainer.objectives.parts.sampler import Sampler
from trainer.objectives.parts.solver import heun, heun_of_noise
from trainer.objectives.parts.target import Batch, Networks, Target, mean_square


class ConsistencyDistillation(Objective):
    """Regress the jump to the data on that from where a teacher's solver leads, one noise level lower.

        target = two legs from t to 0: a Heun step of the teacher to the level m below t, then u- from there
        loss = t^2 ||u - target||^2 / D

    (eq. 7 and algorithm 2; in its words the loss is ||f(x_{n+1}) - f-(x^_n)||^2 / D, of weight 1.) At rest it is
    the chain of the teacher's Heun steps down the grid (`trainer.oracle.fixed_points.ve_consistency_slope`). On a grid
    of EDM's levels the step is in EDM's coordinates, on an even one in those of the linear path. By default u- are the
    weights themselves, as for CIFAR-10 in the authors' code; `target_ema: 0.95` is theirs for ImageNet.

    Deviations: as in consistency training.
    """

    span: ClassVar[Span] = "endpoint"
    reference: ClassVar[str] = "arXiv 2303.01469, eq. 7 and algorithm 2"
    teacher: ClassVar[Literal["none", "required"]] = "required"

    method: Literal["cd"] = "cd"
    sampler: Sampler = RENOISE
    levels: Levels = Karras()
    count: int = Field(18, ge=2, description="N, levels of the grid")

    @property
    def t_max(self) -> float:
        """The highest level."""
        return self.levels.t_max

    def draw(self, rows: int, generator: Generator, moment: Moment) -> Neighbours:
        """Two neighbours on the grid."""
        return neighbours(self.levels.times(self.count), uniform_interval(self.count, rows, generator))

    def __call__(self, networks: Networks, batch: Batch, draws: Draws, moment: Moment) -> Target:
        """The first leg is the teacher's."""
        assert isinstance(draws, Neighbours)
        assert networks.teacher is not None
        step = heun_of_noise if isinstance(self.levels, Karras) else heun
        velocity = step(networks.teacher, batch.at(draws.t), draws.t, draws.m, batch.condition.label)
        prediction, target = to_the_data(networks, batch, draws, velocity)
        error = data_error(prediction, target, draws.t)
        weight = draws.t.square() / target[0].numel()
        return Target(prediction, target, weight, {"loss/consistency": mean_square(error)})

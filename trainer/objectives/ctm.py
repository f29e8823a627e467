"""Consistency trajectory models (Kim et al., arXiv 2310.02279): every jump along a teacher's flow."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from math import ceil, sqrt
from typing import ClassVar, Literal

import torch
from pydantic import Field, PositiveFloat, PositiveInt, model_validator
from torch import Generator, Tensor

from models.build import AnyArchitecture
from models.flow_map import Span, per_sample
from trainer.objectives.parts.adversarial import Adversarial
from trainer.objectives.parts.levels import Karras, Levels
from trainer.objectives.parts.masks import Masks
from trainer.objectives.parts.moment import Moment
from trainer.objectives.parts.objective import Draws
from trainer.objectives.parts.sampler import Gamma, Sampler
from trainer.objectives.parts.sigma_data import refuse_another
from trainer.objectives.parts.solver import heun, heun_of_noise
from trainer.objectives.parts.target import Batch, Marginal, Networks, Target, Velocity, mean_square, square_norm
from trainer.objectives.parts.times import LogitNormal
from trainer.objectives.parts.two_legs import two_legs

FINE = 1001
"""Levels of the grid that the times of the denoising term are taken from."""


@dataclass(frozen=True)
class Trajectory(Draws):
    """Three levels a row, s <= m < t, and a time to denoise at."""

    path: Tensor = field(kw_only=True)  # [B, h + 1], where the solver stops on its way down from t to m
    denoised_at: Tensor = field(kw_only=True)  # [B]

    @property
    def m(self) -> Tensor:
        """Where the solver ends, [B]."""
        return self.path[:, -1]


class CTM(Adversarial):
    """Regress a jump on a teacher's solver and a shorter jump, both taken on to the data by averaged weights.

        prediction = G-(G(z_t, t, s), s, 0),  target = sg G-(G(Solver(z_t, t, m), m, s), s, 0)
        loss = (||prediction - target||^2 + denoising N_t'^2 / sigma_data^2 ||u(z_t', t', t') - v_c||^2) / D

    with G the jump, s <= m < t and N_t^2 = t^2 + sigma_data^2 (1 - t)^2 (eq. 9, 10 and 13). The gradient goes through
    the input of G-, whose weights have none. The second term is denoising score matching with EDM's weight.

    As in the authors' code, the levels are EDM's, h Heun steps lead from t to m, with one h for a whole batch, as
    likely as it is large; t is any level with h below it, s any from m down. So every row takes as many steps, and none
    waits. h goes round evenly with the steps of the run instead of being drawn, which needs no word from the device.

    Their GAN phase is `adversary`, which judges the predictions. Theirs begins with the teacher's weights: `--init`.

    Deviations: the distance is the squared error of the data, where they take LPIPS, a network trained on ImageNet that
    is not at hand offline. The terms have constant weights: theirs are the ratio of the gradients' norms at the last
    layer, which a piece of a batch does not know.
    """

    span: ClassVar[Span] = "any"
    reference: ClassVar[str] = "arXiv 2310.02279, eq. 9, 10 and 13"
    teacher: ClassVar[Literal["none", "required"]] = "required"

    method: Literal["ctm"] = "ctm"
    target_ema: float = Field(0.999, ge=0, lt=1, description="decay of the averaged weights, which go on to the data")
    sampler: Sampler = Gamma()
    levels: Levels = Karras()
    count: int = Field(18, ge=2, description="N, levels of the grid")
    solver_steps: PositiveInt | None = Field(None, description="largest h; null: all of the grid, N - 1")
    denoising: float = Field(1.0, ge=0, description="weight of the second term")
    denoising_law: LogitNormal = LogitNormal(mean=-1.2, std=1.2)
    denoising_range: float = Field(0.7, gt=0, le=1, description="upper share of the grid that half of its times are of")
    sigma_data: PositiveFloat = Field(0.5, description="standard deviation of the data, for its weight")

    @model_validator(mode="after")
    def _solver_stays_on_the_grid(self) -> CTM:
        if self.solver_steps is not None and self.solver_steps >= self.count:
            raise ValueError(
                f"solver_steps is {self.solver_steps}, but {self.count} levels have {self.count - 1} steps between them"
            )
        return self

    @property
    def t_max(self) -> float:
        """The highest level."""
        return self.levels.t_max

    def check_model(self, model: AnyArchitecture) -> None:
        """Raise ValueError where the network counts on another standard deviation of the data."""
        super().check_model(model)
        refuse_another(self.sigma_data, model)

    def heun_steps(self, moment: Moment) -> int:
        """h: of all steps of the run, a share in proportion to it has each from 1 to the largest."""
        most = self.solver_steps or self.count - 1
        place = moment.spread * most * (most + 1) / 2  # the first 1 is for h = 1, the next 2 for h = 2, ...
        return max(ceil((sqrt(1 + 8 * place) - 1) / 2), 1)

    def draw(self, rows: int, generator: Generator, moment: Moment) -> Trajectory:
        """Levels of every row, and a time to denoise at: half of them from the one law, half from the other."""
        device, dtype, h = generator.device, torch.get_default_dtype(), self.heun_steps(moment)
        times = self.levels.times(self.count).to(device, dtype)
        top = torch.randint(h, self.count, (rows,), generator=generator, device=device)
        share = torch.rand(rows, generator=generator, device=device)
        bottom = (share * (top - h + 1)).long().clamp(max=top - h)
        path = times[top[:, None] - torch.arange(h + 1, device=device)]
        fine = self.levels.times(FINE)[round((1 - self.denoising_range) * (FINE - 1)) :].to(device, dtype)
        upper = fine[torch.randint(len(fine), (rows - rows // 2,), generator=generator, device=device)]
        denoised_at = torch.cat([self.denoising_law.draw(rows // 2, generator), upper])
        return Trajectory(times[top], times[bottom], rows, path=path, denoised_at=denoised_at)

    def __call__(self, networks: Networks, batch: Batch, draws: Draws, moment: Moment) -> Target:
        """The two ways to s, and on to the data; and the velocity that the network has at another time."""
        assert isinstance(draws, Trajectory)
        assert networks.teacher is not None
        t, m, s, condition = draws.t, draws.m, draws.s, batch.condition
        z, zero = batch.at(t), torch.zeros_like(t)
        leg = self.solve(networks.teacher, z, draws.path, condition.label)
        ask = networks.exact if networks.dropout else networks.u  # see `Masks`
        masks = Masks(networks, z.device)
        there = _jump(ask(z, t, s, *condition), z, t, s)
        with masks.again():
            other = _jump(two_legs(ask, z, t, m, s, leg, condition), z, t, s)
        masks = Masks(networks, z.device)
        prediction = _jump(networks.target(there, s, zero, *condition), there, s, zero)
        with masks.again(), torch.no_grad():
            target = _jump(networks.target(other, s, zero, *condition), other, s, zero)

        dimensions = target[0].numel()
        terms = {"loss/consistency": mean_square(prediction - target)}
        also = None
        if self.denoising:
            error = self.denoised(networks.u, batch, draws.denoised_at)
            also = self.denoising / dimensions * square_norm(error)
            terms["loss/denoising"] = mean_square(error)
        return Target(prediction, target, torch.full_like(t, 1 / dimensions), terms, also, fake=prediction)

    def solve(self, teacher: Marginal, z: Tensor, path: Tensor, label: Tensor) -> Tensor:
        """Average velocity of the teacher's Heun steps along `path` [B, h + 1], [B, ...]."""
        step = heun_of_noise if isinstance(self.levels, Karras) else heun
        at, times = z, path.unbind(1)
        for t, m in pairwise(times):
            at = _jump(step(teacher, at, t, m, label), at, t, m)
        return (z - at) / per_sample(times[0] - times[-1], z)

    def denoised(self, u: Velocity, batch: Batch, t: Tensor) -> Tensor:
        """N_t / sigma_data times the error of the velocity at t, [B, ...]: that of EDM's network, of unit weight."""
        norm = (t.square() + (self.sigma_data * (1 - t)).square()).sqrt() / self.sigma_data
        return per_sample(norm, batch.x0) * (u(batch.at(t), t, t, *batch.condition) - batch.velocity)


def _jump(u: Tensor, z: Tensor, t: Tensor, s: Tensor) -> Tensor:
    """Where z [B, ...] comes from t to s [B] with the average velocity u."""
    return z - per_sample(t - s, z) * u

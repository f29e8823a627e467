"""Simplified continuous-time consistency models (Lu and Song, arXiv 2410.11081): what sCT and sCD have in common.

The paper's coordinates are TrigFlow's, and the map here is one of the linear path. With N^2 = t^2 + sigma_d^2 (1-t)^2
and a = d ln N / dt = (t - sigma_d^2 (1 - t)) / N^2, one is the other by

    tan tau = t / (sigma_d (1 - t)),   x = sigma_d z / N,   dt / dtau = N^2 / sigma_d
    F = (N / sigma_d) (u - a z),   dx / dtau = N (v - a z),   cos tau x - sin tau sigma_d F = z - t u

In the derivative of the last the terms of z cancel, because a' + a^2 = sigma_d^2 / N^4:

    x + sigma_d dF/dtau = (N^3 / sigma_d) (a (u - v) + du/dt)
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field, PositiveFloat
from torch import Generator, Tensor, nn

from models.build import AnyArchitecture
from models.checkpoint import CheckpointConfig
from models.flow_map import Span, per_sample
from trainer.objectives.parts.consistency import RENOISE
from trainer.objectives.parts.coordinates import sigma_of, time_of
from trainer.objectives.parts.log_variance import LogVariance
from trainer.objectives.parts.moment import Moment
from trainer.objectives.parts.normalised_tangent import NormalisedTangent
from trainer.objectives.parts.objective import STOP_GRADIENT, Draws, Objective
from trainer.objectives.parts.sampler import Sampler
from trainer.objectives.parts.sigma_data import refuse_another
from trainer.objectives.parts.tangent import Derivative
from trainer.objectives.parts.target import Batch, Networks, Target, mean_square
from trainer.objectives.parts.times import LogitNormal


class ContinuousConsistency(Objective):
    """The jump to the data, by the tangent of its own consistency (eq. 8 and algorithm 1 of the paper).

        g = -cos^2 tau (sigma_d F- - dx/dtau) - r cos tau sin tau (x + sigma_d dF-/dtau)
          = -(sigma_d^2 (1 - t)^2 / N) (u- - v) - r t (1 - t) N (a (u- - v) + du-/dt)
        target = F- + g / (||g|| + c)
        loss = exp(-w(tau)) / (sigma D) ||F - target||^2 + w(tau)

    F- and u- are those of the weights themselves, without gradient. At r = 1, after the warm-up, g is -(1 - t) N
    (u- - v + t du-/dt), MeanFlow's residual of a jump to 0; at r = 0 it is that of flow matching. w is learned beside
    the network; the network's gradient is then the same whatever weight of tau stands before the square, 1 / sigma =
    1 / (sigma_d tan tau) in the authors' loss. It counts on the normalisation: the raw g vanishes with 1 - t, and where
    a teacher is matched, so that exp(-w) would weigh the most what there is least to learn from.
    """

    span: ClassVar[Span] = "endpoint"
    jvp: ClassVar[bool] = True
    no_average: ClassVar[str | None] = STOP_GRADIENT

    sampler: Sampler = RENOISE
    t: LogitNormal = Field(LogitNormal(mean=-1.0, std=1.4), description="log-normal law of sigma")
    sigma_max: PositiveFloat = 80.0
    sigma_data: PositiveFloat = Field(0.5, description="sigma_d of TrigFlow; that of a model with parametrisation edm")
    tangent: NormalisedTangent = NormalisedTangent()
    derivative: Derivative = Derivative()
    learned_weight: bool = Field(True, description="whether w is learned; if not it is 0")

    @property
    def t_max(self) -> float:
        """The time of sigma_max."""
        return time_of(self.sigma_max)

    def check_model(self, model: AnyArchitecture) -> None:
        """Raise ValueError where the network counts on another standard deviation of the data."""
        super().check_model(model)
        refuse_another(self.sigma_data, model)

    def notes(self, steps: int) -> list[str]:
        """Says a warm-up that is cut off."""
        return [*super().notes(steps), *self.tangent.notes(self.regressed(steps))]

    def regressed(self, steps: int) -> int:
        """Steps of this regression in a run of `steps`."""
        return steps

    def companion(self, config: CheckpointConfig) -> nn.Module | None:
        """w."""
        return LogVariance() if self.learned_weight else None

    def draw(self, rows: int, generator: Generator, moment: Moment) -> Draws:
        """A time."""
        t = self.t.draw(rows, generator).clamp(max=self.t_max)
        return Draws(t, torch.zeros_like(t), jumps=rows)

    def consistency(self, networks: Networks, batch: Batch, draws: Draws, velocity: Tensor, done: int) -> Target:
        """The regression of F, written as one of u.

        Args:
            velocity: what z moves along, [B, ...]: data's or a teacher's.
            done: steps of this regression before this one.
        """
        z, t, s = batch.at(draws.t), draws.t, draws.s
        u, derivative = self.derivative(networks, z, t, s, batch.condition, velocity)
        norm = torch.sqrt(t**2 + self.sigma_data**2 * (1 - t) ** 2)
        # (1) What is there from the start, and (2) what the warm-up brings in.
        short = u.detach() - velocity
        first = -per_sample(self.sigma_data**2 * (1 - t) ** 2 / norm, z) * short
        slope = per_sample((t - self.sigma_data**2 * (1 - t)) / norm**2, z)
        second = -per_sample(t * (1 - t) * norm, z) * (slope * short + derivative)
        raw, step = self.tangent(first, second, done)
        # (3) ||F - (F- + step)|| as a distance in u, of which F is N / sigma_d times one.
        target = u.detach() + per_sample(self.sigma_data / norm, z) * step
        weight = (norm / self.sigma_data).square() / (sigma_of(t) * z[0].numel())
        terms = {"loss/tangent": mean_square(raw), "derivative": mean_square(derivative)}
        if networks.companion is None:
            return Target(u, target, weight, terms)
        log_variance = self.log_variance(networks, t)
        terms["log_variance"] = log_variance.detach()
        return Target(u, target, weight * torch.exp(-log_variance), terms, log_variance)

    def log_variance(self, networks: Networks, t: Tensor) -> Tensor:
        """w of times [B], with gradient to the companion."""
        assert networks.companion is not None
        return networks.companion(torch.atan2(t, self.sigma_data * (1 - t)))

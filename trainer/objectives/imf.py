"""Improved MeanFlow (Geng et al., arXiv 2512.02012): MeanFlow as a regression of the velocity, on data only."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from models.checkpoint import CheckpointConfig, build_for
from models.flow_map import per_sample
from trainer.objectives.parts.average_velocity import AverageVelocity
from trainer.objectives.parts.guidance import (
    conditional_velocity,
    own_velocity,
    unconditional_velocity,
)
from trainer.objectives.parts.moment import Moment
from trainer.objectives.parts.objective import Draws
from trainer.objectives.parts.target import Batch, Networks, Target, mean_square, square_norm
from trainer.objectives.parts.times import TwoTimes
from trainer.objectives.parts.weighting import adaptive


class ImprovedMeanFlow(AverageVelocity):
    """Regress V = u + (t - s) du/dt on the velocity of single pairs; du/dt follows the predicted one.

        V = u + (t - s) sg(du/dt), du/dt along (v_hat, 1, 0)
        loss = A(||V - v_g||^2) [+ A(||v_hat - v_g||^2)], A(x) = x / sg(x + c)^p

    (eq. 12 and algorithm 1; A is MeanFlow's weight.) V depends on z alone, so its loss is bounded from below by flow
    matching's, unlike MeanFlow's; with v_c for v_hat the gradient is MeanFlow's.

    `velocity` says what v_hat is. `boundary`: u(z, t, t), which the rows with s = t train, without more weights.
    `head`: what a second set of last layers makes of the features of u, trained by the second term in all rows and no
    part of the checkpoint's network. (The authors' head has 8 blocks of its own besides.)

    Guidance is by v_hat: v_g = v_c + (1 - 1/w) (v_hat(c) - v_hat(null)) for a range of scales, w in [1, 8] in the
    paper, that the network is told. Deviations: the interval of guidance is one for all, [t_start, t_end], where the
    paper draws t_min in [0, 0.5] and t_max in [0.5, 1] for each row and tells the network; v_hat(null) is asked at w,
    not at 1 (see `Guidance`); a row whose label is dropped follows v_hat(null), not v_hat(c); the network is told t.
    """

    reference: ClassVar[str] = "arXiv 2512.02012, eq. 12 and algorithm 1"

    method: Literal["imf"] = "imf"
    times: TwoTimes = TwoTimes(jumps=0.5)
    velocity: Literal["boundary", "head"] = Field("boundary", description="what the derivative follows")
    adaptive_power: float = Field(1.0, ge=0, description="p")
    adaptive_constant: float = Field(1e-2, gt=0, description="c, beside a sum over dimensions")

    @model_validator(mode="after")
    def _coherent(self) -> ImprovedMeanFlow:
        if self.velocity == "boundary" and self.times.jumps == 1:
            raise ValueError("velocity boundary is trained by the rows with s = t; times.jumps must be below 1")
        if self.velocity == "head" and not self.derivative.apart:
            raise ValueError(
                f"velocity head is read where the prediction is made, which derivative.backend "
                f"{self.derivative.backend} does not do apart; forward or difference"
            )
        return self

    def companion(self, config: CheckpointConfig) -> nn.Module | None:
        """The head, zero at initialisation as the network is."""
        if self.velocity == "boundary":
            return None
        return build_for(config).head()

    def __call__(self, networks: Networks, batch: Batch, draws: Draws, moment: Moment) -> Target:
        """V against v_g in every row; only the jumps pay for the derivative, which (t - s) cancels on the others."""
        t, s, jumps = draws.t, draws.s, draws.jumps
        z, condition = batch.at(t), batch.condition
        first = slice(0, jumps)  # s < t, but for the ties that the order `min` makes
        rest = slice(jumps, len(z))  # s = t
        velocities: list[Tensor] = []  # the head's, of the rows in their order, with gradient

        def predict(*point: Tensor) -> Tensor:
            if networks.both is None:
                return networks.u(*point)
            average, velocity = networks.both(*point)
            velocities.append(velocity)
            return average

        plain = predict(z[rest], t[rest], s[rest], *condition.rows(rest)) if jumps < len(z) else None
        target = following = batch.velocity
        if self.guidance.active(moment.step):
            known = velocities[0] if velocities else plain
            following = conditional_velocity(networks, batch, draws, known, networks.head)
            without = unconditional_velocity(networks, batch, draws, networks.head)
            target = self.guidance.velocity(batch, t, following, without)
        elif jumps:
            following = own_velocity(networks, batch, t, first, condition.label, networks.head)

        predictions = [] if plain is None else [plain]
        terms = {}
        if jumps:
            jump, derivative = self.derivative(
                networks,
                z[first],
                t[first],
                s[first],
                condition.rows(first),
                following[first],
                predict if networks.both is not None else None,
            )
            predictions.insert(0, jump + per_sample((t - s)[first], z) * derivative)
            terms["derivative"] = mean_square(derivative)
            terms["loss/jump"] = mean_square(predictions[0] - target[first])
        prediction = torch.cat(predictions)
        if plain is not None:
            terms["loss/velocity"] = mean_square(plain - target[rest])
        also = None
        if velocities:
            error = torch.cat(velocities[::-1]) - target  # the rows with s = t were asked first
            terms["loss/head"] = mean_square(error)
            also = self._weight(error) * square_norm(error)
        return Target(prediction, target, self._weight(prediction - target), terms, also)

    def _weight(self, error: Tensor) -> Tensor:
        return adaptive(error, self.adaptive_power, self.adaptive_constant)

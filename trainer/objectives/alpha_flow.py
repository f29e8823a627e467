"""alpha-Flow (Zhang et al., arXiv 2510.20771): from trajectory flow matching to MeanFlow by a curriculum."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field, PositiveFloat
from torch import Tensor

from models.flow_map import per_sample
from trainer.objectives.parts.average_velocity import AverageVelocity
from trainer.objectives.parts.curriculum import Curriculum
from trainer.objectives.parts.guidance import guided_velocity
from trainer.objectives.parts.masks import Masks
from trainer.objectives.parts.moment import Moment
from trainer.objectives.parts.objective import Draws
from trainer.objectives.parts.target import Batch, Condition, Networks, Target, mean_square
from trainer.objectives.parts.times import TwoTimes
from trainer.objectives.parts.two_legs import two_legs
from trainer.objectives.parts.weighting import adaptive

Alpha = Annotated[float, Field(ge=0, le=1)]


class AlphaFlow(AverageVelocity):
    """Two legs, the first along a single pair; its share alpha falls from 1 to MeanFlow's limit, 0.

        m = alpha s + (1 - alpha) t
        target = sg(alpha v_g + (1 - alpha) u(z - (t - m) v_g, m, s))
        loss = alpha^(2p - 1) ||u - target||^2 / sg(||u - target||^2 + c)^p, norms being means over dimensions

    (the paper's alpha-Flow loss, where p = 1.) alpha = 1 is trajectory flow matching, v_g over every
    [s, t]; alpha = 0 is MeanFlow, by the derivative and without the factor of alpha; so are the rows with s = t. The
    post's lambda is 1 - alpha. Between the two the target is biased where data is not Gaussian, since v_g, of one
    sample, stands inside u; and at rest on a Gaussian its map has the slope of a chain of Euler steps
    (`trainer.oracle.fixed_points.alpha_flow_slope`). The residual shrinks with alpha, so that a constant c beside it
    slows the small alphas down: of a residual r of MeanFlow's the gradient is r / (r^2 + c / alpha^2) at p = 1.
    """

    reference: ClassVar[str] = "arXiv 2510.20771, alpha-Flow loss"

    method: Literal["alpha-flow"] = "alpha-flow"
    times: TwoTimes = TwoTimes(jumps=0.5)
    alpha: Alpha | Curriculum = Field(Curriculum(), description="one for the whole run, or how it falls")
    clip: PositiveFloat | None = Field(None, description="largest absolute value in a target of two legs; null: any")
    adaptive_power: float = Field(1.0, ge=0, description="p")
    adaptive_constant: float = Field(1e-3, gt=0, description="c, beside a mean over dimensions")

    def __call__(self, networks: Networks, batch: Batch, draws: Draws, moment: Moment) -> Target:
        """The target of every row: of the jumps at this moment's alpha, of the others v_g."""
        alpha = self.alpha.alpha(moment) if isinstance(self.alpha, Curriculum) else self.alpha
        t, s, jumps = draws.t, draws.s, draws.jumps
        z, condition = batch.at(t), batch.condition
        first = slice(0, jumps)  # s < t, but for the ties that the order `min` makes
        rest = slice(jumps, len(z))  # s = t
        plain = networks.u(z[rest], t[rest], s[rest], *condition.rows(rest)) if jumps < len(z) else None
        velocity = guided_velocity(self.guidance, networks, batch, draws, moment, plain)

        predictions = [] if plain is None else [plain]
        target = velocity
        terms = {"alpha": torch.full_like(t, alpha)}
        if jumps:
            point = (z[first], t[first], s[first], condition.rows(first), velocity[first])
            jump, aim = self._limit(networks, *point) if alpha == 0 else self._two_legs(networks, alpha, *point)
            predictions.insert(0, jump)
            target = torch.cat([aim, velocity[rest]])
            terms["loss/jump"] = mean_square(jump - aim)
        prediction = torch.cat(predictions)
        if plain is not None:
            terms["loss/velocity"] = mean_square(plain - target[rest])
        return Target(prediction, target, self._weight(prediction - target, alpha, jumps), terms)

    def _limit(
        self, networks: Networks, z: Tensor, t: Tensor, s: Tensor, condition: Condition, velocity: Tensor
    ) -> tuple[Tensor, Tensor]:
        """u(z, t, s), and MeanFlow's target for it."""
        jump, derivative = self.derivative(networks, z, t, s, condition, velocity)
        return jump, velocity - per_sample(t - s, z) * derivative

    def _two_legs(
        self, networks: Networks, alpha: float, z: Tensor, t: Tensor, s: Tensor, condition: Condition, velocity: Tensor
    ) -> tuple[Tensor, Tensor]:
        """u(z, t, s), and the target of two legs for it; with dropout the masks of both are the same."""
        masks = Masks(networks, z.device)
        u = networks.exact if networks.dropout else networks.u
        jump, aim = u(z, t, s, *condition), velocity
        if alpha < 1:
            with masks.again():
                aim = two_legs(u, z, t, alpha * s + (1 - alpha) * t, s, velocity, condition)
        return jump, aim if self.clip is None else aim.clamp(-self.clip, self.clip)

    def _weight(self, error: Tensor, alpha: float, jumps: int) -> Tensor:
        dimensions, power = error[0].numel(), self.adaptive_power
        weight = dimensions ** (power - 1) * adaptive(error, power, dimensions * self.adaptive_constant)
        if alpha > 0:
            weight[:jumps] *= alpha ** (2 * power - 1)
        return weight

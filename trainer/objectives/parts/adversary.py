"""An adversarial phase at the end of a training: its settings and losses; `trainer.adversary` trains by them."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt
from torch import Tensor


class Adversary(BaseModel):
    """From `start_step` on a discriminator is trained beside the map, and the map's samples are to look real to it.

    With the scores a = D(x0) and b = D(sample) of each row,

        relativistic    map: softplus(a - b)     discriminator: softplus(b - a)
        hinge           map: -b                  discriminator: relu(1 - a) + relu(1 + b)

    The first (RpGAN) is of Align Your Flow's adversarial finetuning (arXiv 2506.14603) and of R3GAN (Huang et al.,
    arXiv 2501.05441, eq. 5), with whose penalty `gamma` / 2 (||dD/dx||^2 at x0 + the same at the sample), R1 and R2, it
    converges; the second is CTM's (arXiv 2310.02279).

    Deviations: the discriminator is a small network on the data themselves (`models.discriminator`), where CTM's looks
    at features of networks trained on ImageNet (StyleGAN-XL's), which are not at hand offline. The weight is constant:
    theirs is the ratio of the gradients' norms at the last layer, which a piece of a batch does not know. Map and
    discriminator both move at every step, on the same samples.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    start_step: PositiveInt = Field(description="the first step of the phase; samples should resemble data by then")
    weight: PositiveFloat = Field(0.1, description="of the map's loss")
    loss: Literal["relativistic", "hinge"] = "relativistic"
    gamma: float = Field(0.1, ge=0, description="of the penalty on the discriminator's slope, R1 and R2")
    lr: PositiveFloat = Field(2e-4, description="learning rate of the discriminator's Adam")
    width: PositiveInt = Field(64, description="of the discriminator")

    def active(self, step: int) -> bool:
        """Whether this step, counted from 1, belongs to the phase."""
        return step >= self.start_step

    def of_map(self, real: Tensor, fake: Tensor) -> Tensor:
        """The map's loss by the scores of data and samples, each [B], of row for row: [B]."""
        return F.softplus(real - fake) if self.loss == "relativistic" else -fake

    def of_discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """The discriminator's loss, [B], without the penalty."""
        if self.loss == "relativistic":
            return F.softplus(fake - real)
        return torch.relu(1 - real) + torch.relu(1 + fake)

"""The discriminator of an adversarial phase: how it judges the map's samples, and how it learns."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import nullcontext
from typing import NamedTuple

import torch
from torch import Tensor, nn

from models.checkpoint import CheckpointConfig
from models.discriminator import Discriminator
from trainer.objectives.parts.adversarial import Adversarial
from trainer.objectives.parts.adversary import Adversary
from trainer.objectives.parts.objective import Objective
from trainer.objectives.parts.target import square_norm
from trainer.processes import Processes


class Judged(NamedTuple):
    """Data and samples of a piece of a batch, without gradient."""

    real: Tensor  # [B, ...]
    fake: Tensor  # [B, ...]
    label: Tensor  # int64 [B], the null label where it was dropped


def adversary_of(objective: Objective) -> Adversary | None:
    """The settings of an objective's adversarial phase; None where it has none, or is a method without."""
    return objective.adversary if isinstance(objective, Adversarial) else None


class Judge(nn.Module):
    """What the map is told of its samples: the discriminator, whose weights it cannot move.

    A second module over the same weights, so that the map's loss and the discriminator's are shared among processes
    each with what it trains.
    """

    def __init__(self, discriminator: Discriminator, settings: Adversary) -> None:
        super().__init__()
        self.settings = settings
        self.discriminator = copy.deepcopy(discriminator).requires_grad_(False)
        for mine, theirs in zip(self.discriminator.parameters(), discriminator.parameters(), strict=True):
            mine.data = theirs.data

    def forward(self, judged: Judged) -> Tensor:
        """The map's loss, [B], by samples with gradient."""
        real = self.discriminator(judged.real, judged.label)
        return self.settings.of_map(real, self.discriminator(judged.fake, judged.label))


class DiscriminatorLoss(nn.Module):
    """The discriminator's loss as a module that holds it, for DDP to wrap: the penalty's gradient lies inside."""

    def __init__(self, discriminator: Discriminator, settings: Adversary) -> None:
        super().__init__()
        self.discriminator, self.settings = discriminator, settings

    def forward(self, judged: Judged) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean loss, a scalar with gradient, and terms of the rows: the loss, both scores, and the slopes' square.

        loss + gamma / 2 (||dD/dx||^2 at the data + the same at the samples) (R1 and R2; R3GAN, eq. 6)
        """
        real, real_slope = self._score(judged.real, judged.label)
        fake, fake_slope = self._score(judged.fake, judged.label)
        losses = self.settings.of_discriminator(real, fake)
        terms = {"loss/discriminator": losses, "score/data": real, "score/samples": fake}
        if real_slope is not None and fake_slope is not None:
            terms["score/slope"] = slopes = real_slope + fake_slope
            losses = losses + self.settings.gamma / 2 * slopes
        return losses.mean(), {name: rows.detach() for name, rows in terms.items()}

    def _score(self, x: Tensor, label: Tensor) -> tuple[Tensor, Tensor | None]:
        """Scores, and the squared norm of their gradient in x, each [B]."""
        if self.settings.gamma == 0:
            return self.discriminator(x, label), None
        x = x.detach().requires_grad_()
        scores = self.discriminator(x, label)
        (slope,) = torch.autograd.grad(scores.sum(), x, create_graph=True)
        return scores, square_norm(slope)


class AdversarialPhase:
    """A discriminator, its optimiser, and a step of it after each of the map's, from the phase's first step on.

    Adam with the betas (0, 0.99) and a constant rate, as R3GAN's; its weights are saved to resume from, not exported.
    """

    def __init__(self, settings: Adversary, config: CheckpointConfig, device: torch.device) -> None:
        self.settings = settings
        self.discriminator = Discriminator(config.shape, len(config.labels), settings.width).to(device)
        self.judge = Judge(self.discriminator, settings)
        # Data and samples pull most biases apart by the same, so that their gradient is rounding alone; a smaller eps
        # would make steps of it.
        self.optimiser = torch.optim.Adam(self.discriminator.parameters(), settings.lr, (0.0, 0.99), eps=1e-5)
        self.loss: nn.Module = DiscriminatorLoss(self.discriminator, settings)

    def share(self, processes: Processes) -> None:
        """Train together with the other processes."""
        self.loss = processes.share(self.loss)

    def step(self, pieces: list[Judged], processes: Processes) -> Iterator[dict[str, Tensor]]:
        """Learn from what was judged in a step of the map, and yield the raw terms of each piece."""
        for number, judged in enumerate(pieces, start=1):
            with nullcontext() if number == len(pieces) else processes.apart(self.loss):
                with processes.together():
                    value, terms = self.loss(judged)
                (value / len(pieces)).backward()
            yield terms
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)

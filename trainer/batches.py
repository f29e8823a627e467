"""From the number of a step to its training pairs, the same ones however many processes and pieces share them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from trainer.augment import Augment, apply
from trainer.objectives.parts.moment import Moment
from trainer.objectives.parts.objective import Draws, Objective
from trainer.objectives.parts.target import Batch, Condition
from trainer.seeds import step_generator
from trainer.shard import Shard
from trainer.stream import Stream


class Batches:
    """Pairs of data and noise, with what the objective draws for them.

    All random choices are made for the whole batch on every process, and each takes its rows: a process more changes
    nothing but the order of sums. Drawing is cheap beside a network; the data are fetched for the own rows only.
    """

    def __init__(
        self, stream: Stream, objective: Objective, augment: Augment, rows: int, shape: tuple[int, ...], seed: int
    ) -> None:
        self.stream, self.objective, self.augment = stream, objective, augment
        self.rows, self.shape, self.seed = rows, shape, seed

    def draw(self, moment: Moment, shards: Sequence[Shard]) -> Iterator[tuple[Batch, Draws]]:
        """The parts of a step that belong to the shards, one after the other."""
        step = moment.step
        generator = step_generator(self.stream.device, self.seed, step)
        device = generator.device
        dropped = torch.rand(self.rows, generator=generator, device=device) < self.objective.label_dropout
        x1 = torch.randn((self.rows, *self.shape), generator=generator, device=device)
        draws = self.objective.draw(self.rows, generator, moment)
        parameters = self.augment.draw(self.rows, generator) if self.augment.on else None
        for shard in shards:
            x0, label = self.stream.fetch(step, shard)
            told: Tensor | None = None
            if parameters is not None:
                x0, told = apply(x0, parameters.part(shard))
            part = draws.part(shard)
            mine = shard.rows(dropped)
            condition = Condition(torch.where(mine, self.stream.null_label, label), part.guidance, told)
            yield Batch(x0, shard.rows(x1), condition, mine), part

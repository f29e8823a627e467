"""What every objective is: typed settings, the randomness of a step, and a pure target function."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field
from torch import Generator, Tensor

from models.checkpoint import GuidanceInput
from models.flow_map import Span
from trainer.objectives.parts.target import Batch, Networks, Target
from trainer.shard import Shard


@dataclass(frozen=True)
class Draws:
    """The random choices of a step for the whole batch, whatever the number of processes that share it.

    An objective that draws more than times adds fields; tensors have a row per sample.
    """

    t: Tensor  # [B]
    s: Tensor  # [B], s <= t
    jumps: int = 0  # the first rows, which may have s < t; all others have s = t
    guidance: Tensor | None = None  # [B], the scale, for a network that is told

    def part(self, shard: Shard) -> Self:
        """The rows of a shard."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        fields |= {name: shard.rows(value) for name, value in fields.items() if isinstance(value, Tensor)}
        return type(self)(**{**fields, "jumps": shard.count_of(self.jumps)})


class Objective(BaseModel, ABC):
    """A method: what its network regresses on. One file in `trainer/objectives/` each; nothing else names it.

    `draw` makes all random choices of a step, `__call__` is a pure function of them, so that a batch gives the same
    gradient whole, in pieces, and shared among processes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    span: ClassVar[Span]

    method: str
    label_dropout: float = Field(0.1, ge=0, lt=1, description="share of labels replaced by the null label")

    @property
    def guidance_input(self) -> GuidanceInput | None:
        """The scales that the network is told; None: it has no such input."""
        return None

    @property
    def guided(self) -> str | None:
        """Effective scale of its samples, or the range, for a person: `1.67`, `1 to 4`; None: the plain model's, 1."""
        return None

    @abstractmethod
    def draw(self, rows: int, generator: Generator) -> Draws:
        """The random choices for a batch of `rows`, on the generator's device."""

    @abstractmethod
    def __call__(self, networks: Networks, batch: Batch, draws: Draws, step: int) -> Target:
        """The regression of a batch, or of a part of one with the same part of `draws`, at step `step` (from 1)."""

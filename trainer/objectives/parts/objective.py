"""What every objective is: typed settings, the randomness of a step, and a pure target function."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Collection
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Generator, Tensor, nn

from export.runtime.grids import Grid, check_grid
from models.build import AnyArchitecture
from models.checkpoint import CheckpointConfig, GuidanceInput
from models.flow_map import Span
from trainer.objectives.parts.moment import Moment
from trainer.objectives.parts.sampler import Flow, Sampler
from trainer.objectives.parts.target import Batch, Networks, Target
from trainer.shard import Shard

STOP_GRADIENT = "its target is made with the weights themselves, without gradient: averaged ones pull it elsewhere"
"""Why most methods have no averaged target: in the limit of small steps its gradient has a part that does not vanish at
the truth (iCT, arXiv 2310.14189, section 3.2)."""


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
    reference: ClassVar[str]
    """Paper and equation, as `arXiv 2505.13447, eq. 10`."""
    teacher: ClassVar[Literal["none", "optional", "required"]] = "none"
    """Whether it learns from another checkpoint, must or may."""
    jvp: ClassVar[bool] = False
    """Whether it takes a Jacobian-vector product, or a difference in its place."""
    no_average: ClassVar[str | None] = None
    """Why its targets may not be made with averaged weights; None where they may."""

    method: str
    label_dropout: float = Field(0.1, ge=0, lt=1, description="share of labels replaced by the null label")
    target_ema: float | None = Field(
        None, ge=0, lt=1, description="decay of the averaged weights that make targets; null: the weights themselves"
    )
    sampler: Sampler = Flow()

    @model_validator(mode="after")
    def _averages_where_it_may(self) -> Objective:
        if self.target_ema is not None and self.no_average is not None:
            raise ValueError(f"target_ema is {self.target_ema:g}, but {self.no_average}; leave it out")
        return self

    @property
    def t_max(self) -> float:
        """Largest time that it trains at."""
        return 1.0

    def grid(self, steps: int) -> Grid:
        """The grid of `steps` steps. Raises ValueError where the span forbids it, or the sampler does not fit."""
        grid = self.sampler.grid(steps)
        check_grid(grid, self.span, self.t_max)
        return grid

    def check_batch(self, rows: int) -> None:
        """Raise ValueError where batches of `rows` are too small for what the method draws."""
        return

    def check_steps(self, steps: int) -> None:
        """Raise ValueError where a run of `steps` would end before what it was asked for."""
        return

    def check_model(self, model: AnyArchitecture) -> None:
        """Raise ValueError where the network counts on something else than the method."""
        return

    def check_given(self, given: Collection[str]) -> list[str]:
        """What a person should know of a run with the checkpoints of these roles, a line each. Raises ValueError where
        they do not go with the settings."""
        return []

    def scale_of(self, step: int) -> float | None:
        """The scale of guidance of the model's jumps after this step, by its default; None where the settings do not
        tell, as of one that learns from another."""
        return None

    @property
    def scale_walked(self) -> float | None:
        """The scale that the map it learns the steps of must have; None: any."""
        return None

    def notes(self, steps: int) -> list[str]:
        """What a person should know before a run of `steps` that they may not expect of it, a line each."""
        return []

    def decay(self, moment: Moment) -> float | None:
        """Decay of the averaged weights after this step."""
        return self.target_ema

    def companion(self, config: CheckpointConfig) -> nn.Module | None:
        """A network that is trained beside the flow map and not exported, such as a learned weight of the loss.

        Every step must give all its weights a gradient, if of zeros: several processes wait for it.
        """
        return None

    @property
    def guidance_input(self) -> GuidanceInput | None:
        """The scales that the network is told; None: it has no such input."""
        return None

    @property
    def guided(self) -> str | None:
        """Effective scale of its samples, or the range, for a person: `1.67`, `1 to 4`; None: the plain model's, 1."""
        return None

    def guides_by(self, step: int) -> bool:
        """Whether by this step, counted from 1, samples are led to what `guided` says."""
        return self.guided is not None

    @property
    def needs_labels(self) -> bool:
        """Whether it has no use for data without labels: guidance towards one leads away from the null label."""
        return self.guided is not None

    @abstractmethod
    def draw(self, rows: int, generator: Generator, moment: Moment) -> Draws:
        """The random choices for a batch of `rows`, on the generator's device."""

    @abstractmethod
    def __call__(self, networks: Networks, batch: Batch, draws: Draws, moment: Moment) -> Target:
        """The regression of a batch, or of a part of one with the same part of `draws`."""

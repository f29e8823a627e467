"""How a trained map is asked for a sample in n steps: the grids that a checkpoint stores."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from export.runtime.grids import Grid, flow_grid, gamma_grid, renoise_grid

Time = Annotated[float, Field(gt=0, lt=1)]


class Flow(BaseModel):
    """n equal jumps along the flow, without new noise."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["flow"] = "flow"

    def grid(self, steps: int) -> Grid:
        """The grid of `steps` steps."""
        return flow_grid(steps)


class Gamma(BaseModel):
    """gamma-sampling (CTM, arXiv 2310.02279): 0 is the flow, 1 re-noising, between them part of the noise is new.

    `times` says, for a number of steps, where the steps after the first begin; other numbers go down evenly.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["gamma"] = "gamma"
    gamma: float = Field(0.0, ge=0, le=1)
    times: dict[int, tuple[Time, ...]] = Field(default_factory=dict, description="steps -> the times between 1 and 0")

    def grid(self, steps: int) -> Grid:
        """The grid of `steps` steps. Raises ValueError for times that do not fall."""
        return gamma_grid(falling(steps, self.times), self.gamma)


class Renoise(BaseModel):
    """Multistep consistency sampling (arXiv 2303.01469, alg. 1): jump to 0, re-noise, again."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["renoise"] = "renoise"
    times: dict[int, tuple[Time, ...]] = Field(default_factory=dict, description="steps -> the times between 1 and 0")

    def grid(self, steps: int) -> Grid:
        """The grid of `steps` steps. Raises ValueError for times that do not fall."""
        return renoise_grid(falling(steps, self.times))


Sampler = Annotated[Flow | Gamma | Renoise, Field(discriminator="kind")]


def falling(steps: int, times: dict[int, tuple[float, ...]]) -> list[float]:
    """Where each of `steps` jumps begins: 1, and then the given times, or even ones.

    Raises:
        ValueError: another number of times is given than `steps` has.
    """
    between = times.get(steps, tuple((steps - number) / steps for number in range(1, steps)))
    if len(between) != steps - 1:
        raise ValueError(f"{steps} steps have {steps - 1} times between 1 and 0, not {list(between)}")
    return [1.0, *between]

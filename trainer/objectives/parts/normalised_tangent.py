"""What keeps a continuous-time method stable at the start: its tangent comes in slowly, and has a bounded norm."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveFloat
from torch import Tensor

from models.flow_map import per_sample
from trainer.objectives.parts.target import square_norm


class NormalisedTangent(BaseModel):
    """The gradient direction g of a continuous-time method, warmed up and normalised (sCM, arXiv 2410.11081, sections
    4.1 and 4.2; Align Your Flow, arXiv 2506.14603, section 3.4, where the warm-up ends at 0.99).

        g = first + r second,   r = min(warmup_limit, k / warmup_steps) after k steps
        g <- g / (||g|| + constant)

    `second` holds the derivative of the network, which means something only once the network does. The norm is one of
    the whole sample, a sum over dimensions. It keeps the zeros of g and nothing else: where g is a conditional
    expectation that a single sample stands for (sCT), the normalised mean is no longer zero with the mean. In many
    dimensions all samples have nearly one norm, and it is; in a few it is not, hence `constant: null`.

    A limit below 1 leaves the map, at rest, that much on the side of straight lines.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    warmup_steps: NonNegativeInt = Field(10_000, description="H; 0: at the limit from the start")
    warmup_limit: float = Field(1.0, gt=0, le=1, description="the largest r")
    constant: PositiveFloat | None = Field(0.1, description="c, beside a norm that sums; null: g as it is")
    per_dimension: bool = Field(False, description="whether the norm is the root of a mean over dimensions instead")

    def warmth(self, done: int) -> float:
        """r after `done` steps."""
        return self.warmup_limit if done >= self.warmup_steps else min(self.warmup_limit, done / self.warmup_steps)

    def notes(self, done: int) -> list[str]:
        """A note on a warm-up that a run of `done` steps would cut off, a line or none."""
        if self.warmth(done) >= self.warmup_limit:
            return []
        return [
            f"objective.tangent.warmup_steps is {self.warmup_steps:,}, and {done:,} steps are done by the end: the "
            f"derivative counts for {self.warmth(done):.2g} of {self.warmup_limit:g} then, and the map will be on the "
            "side of straight lines"
        ]

    def __call__(self, first: Tensor, second: Tensor, done: int) -> tuple[Tensor, Tensor]:
        """g as it is, and g normalised, each [B, ...] without gradient.

        Args:
            first, second: the part of g that is there from the start, and the one that is warmed up, [B, ...].
            done: steps before this one.
        """
        g = (first + self.warmth(done) * second).detach()
        if self.constant is None:
            return g, g
        square = square_norm(g) / g[0].numel() if self.per_dimension else square_norm(g)
        return g, g / (per_sample(square.sqrt(), g) + self.constant)

"""What a manifest says of a precision: its error against fp32, and what it does to the pictures."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from export.runtime.strict import Strict


class JumpError(Strict):
    """How far a precision's jumps are from fp32's of the same inputs, in units of z."""

    rows: Annotated[int, Field(ge=1)]
    max: float
    rms: float


class SampleError(Strict):
    """How far a precision's samples are from fp32's: images in levels of 255, points in units of z."""

    max: float
    rms: float
    differing: float | None
    """The share of an image's bytes that differ; None for points."""


class QualityChange(Strict):
    """What a precision does to the figures of `longjump eval`: fp32's and its own, of samples with the same seeds."""

    settings: dict[str, Any]
    """The evaluator's, and with what and when it was measured."""
    steps: dict[str, dict[str, tuple[float, float]]]
    """For each step count, as text: figure -> (fp32's, this precision's)."""

    def lines(self) -> list[str]:
        """For a person to read: a line for each step count."""
        count = f"over {self.settings.get('samples', '?')} samples"
        return [
            f"steps {steps}: {', '.join(f'{name} {old:.4g} -> {new:.4g}' for name, (old, new) in figures.items())}, "
            f"{count}"
            for steps, figures in self.steps.items()
        ]


class Accuracy(Strict):
    """What a precision was found to cost when it was made, on samples along the bundle's grids."""

    samples: Annotated[int, Field(ge=1)]
    """Of each step count."""
    jump: JumpError
    ends: dict[str, SampleError]
    """For each step count, as text."""
    emulated: bool
    """Whether the arithmetic was imitated on a machine that has none of this precision."""
    forced: bool
    """Whether it is beyond its bound, and in the bundle because a person wanted it there."""
    quality: QualityChange | None = None
    """Whether its pictures are worse; None: not measured."""

    def lines(self) -> list[str]:
        """For a person to read: a line for the jump, and one for each step count of errors and of quality."""
        remarks = " (imitated)" * self.emulated + " (FORCED: beyond its bound)" * self.forced
        lines = [
            f"jump error {self.jump.rms:.2g} rms, {self.jump.max:.2g} at most, over {self.jump.rows} rows{remarks}"
        ]
        for steps, end in self.ends.items():
            unit = "" if end.differing is None else f" levels of 255, {end.differing:.1%} of bytes differ"
            lines.append(f"steps {steps}: {end.rms:.3g} rms, {end.max:.3g} at most{unit}, over {self.samples} samples")
        return [*lines, *(f"fp32 -> it, {line}" for line in self.quality.lines())] if self.quality else lines

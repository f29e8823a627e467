"""What a precision costs: its error against fp32, on samples that the calibration did not see, and the bound on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from export.precision.visits import walk
from export.runtime.accuracy import Accuracy, JumpError, SampleError
from export.runtime.manifest import Manifest
from export.runtime.sampler import Jump

FIRST_SEED = 2**32
"""Of the samples that errors are measured on; calibration's seeds begin with 0."""

LEVELS = 127.5
"""Levels of an image in one unit of z: what a bound for images becomes for points."""

Decode = Callable[[NDArray[np.float32]], NDArray[np.uint8]]


@dataclass(frozen=True)
class Bound:
    """The largest root mean square errors with which a precision goes into a bundle unforced."""

    jump: float
    """In units of z."""
    image: float
    """In levels of 255, at each step count."""


BOUNDS = {"fp16": Bound(jump=0.01, image=1.0), "int8": Bound(jump=0.05, image=8.0)}
"""fp16 is to be invisible. int8 is to stay above 30 dB: fewer levels than a JPEG of usual quality takes."""


def measure(
    manifest: Manifest,
    reference: tuple[Jump, Decode | None],
    other: tuple[Jump, Decode | None],
    *,
    emulated: bool,
) -> Accuracy:
    """The errors of `other` against `reference`, each a jump and, for images, a decoder.

    Jumps are compared on the reference's inputs, samples after each has gone its own way. Raises ValueError for values
    that are not finite.
    """
    ours, theirs = walk(reference[0], manifest, FIRST_SEED), walk(other[0], manifest, FIRST_SEED)
    every = np.concatenate([rows.through(other[0]) - z_s for rows, z_s in zip(ours.visited, ours.reached)])
    if not np.isfinite(every).all() or not all(np.isfinite(end).all() for end in theirs.ends.values()):
        raise ValueError("its jumps give values that are not finite")
    ends = {}
    for steps in manifest.steps:
        first, second = ours.ends[steps], theirs.ends[steps]
        if reference[1] is not None and other[1] is not None:
            ends[str(steps)] = _of_images(reference[1](first), other[1](second))
        else:
            ends[str(steps)] = SampleError(max=_max(second - first), rms=_rms(second - first), differing=None)
    return Accuracy(
        samples=len(first),
        jump=JumpError(rows=len(every), max=_max(every), rms=_rms(every)),
        ends=ends,
        emulated=emulated,
        forced=False,
    )


def excess(accuracy: Accuracy, bound: Bound) -> str | None:
    """In what an accuracy is beyond its bound, in words; None if in nothing."""
    if accuracy.jump.rms > bound.jump:
        return f"its jumps differ from fp32's by {accuracy.jump.rms:.3g} (rms; at most {bound.jump:g} is allowed)"
    for steps, end in accuracy.ends.items():
        limit, unit = (bound.image / LEVELS, "") if end.differing is None else (bound.image, " levels of 255")
        if end.rms > limit:
            return f"its samples of {steps} steps differ from fp32's by {end.rms:.3g}{unit} (rms; at most {limit:.3g})"
    return None


def _of_images(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> SampleError:
    apart = second.astype(np.float32) - first
    return SampleError(max=_max(apart), rms=_rms(apart), differing=float(np.mean(apart != 0)))


def _max(apart: NDArray[np.float32]) -> float:
    return float(np.abs(apart).max())


def _rms(apart: NDArray[np.float32]) -> float:
    return float(np.sqrt(np.square(apart, dtype=np.float64).mean()))

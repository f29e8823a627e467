"""The inputs that a jump meets when a bundle is used: what its samples pass through on its own grids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from export.check import Rows
from export.runtime.manifest import Manifest
from export.runtime.sampler import Jump, sample

ROW_STEPS = 512
"""Network evaluations that one walk of all grids may take; with long grids it is of fewer samples."""

MOST, FEWEST = 32, 4
"""Samples of one walk."""


@dataclass(frozen=True)
class Walk:
    """Samples drawn along every grid: where they went and where they came to.

    `visited` are the inputs of every step, in order, and `reached` what the jump made of them; `ends` has, for each
    step count, z at t = 0, f32 [N, *z_shape].
    """

    visited: list[Rows]
    reached: list[NDArray[np.float32]]
    ends: dict[int, NDArray[np.float32]]


def samples_of(manifest: Manifest) -> int:
    """How many samples a walk draws."""
    return max(FEWEST, min(MOST, ROW_STEPS // sum(manifest.steps)))


def walk(jump: Jump, manifest: Manifest, first_seed: int = 0) -> Walk:
    """Draw along every grid of the bundle the samples of `samples_of` seeds from `first_seed` on.

    Labels go through all and the null one, guidance through its range, so that the rows are like those of requests.
    """
    seeds = range(first_seed, first_seed + samples_of(manifest))
    labels = [(manifest.null_label + seed) % (manifest.null_label + 1) for seed in seeds]
    visited: list[Rows] = []
    reached: list[NDArray[np.float32]] = []

    def recording(
        z: NDArray[np.float32],
        t: NDArray[np.float32],
        s: NDArray[np.float32],
        label: NDArray[np.int64],
        guidance: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        visited.append(Rows(z, t, s, label, guidance))
        reached.append(visited[-1].through(jump))
        return reached[-1]

    ends = {
        steps: sample(recording, manifest.z_shape, manifest.grid(steps), seeds, labels, _scales(manifest, seeds))
        for steps in manifest.steps
    }
    return Walk(visited, reached, ends)


def _scales(manifest: Manifest, seeds: Sequence[int]) -> list[float] | None:
    """The default scale for every other sample, and the range, evenly, for the others."""
    scale = manifest.guidance
    if scale is None:
        return None
    return [
        scale.default if i % 2 == 0 else scale.min + (scale.max - scale.min) * i / max(1, len(seeds) - 1)
        for i in range(len(seeds))
    ]

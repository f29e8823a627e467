"""Samples of a network in training, by the runtime's own sampler: there is one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from export.runtime.grids import Grid
from export.runtime.sampler import sample
from models.flow_map import FlowMap
from models.numpy_jump import numpy_jump


def draw(
    flow_map: FlowMap,
    shape: Sequence[int],
    grid: Grid,
    labels: Sequence[int],
    seed: int = 0,
    guidance: float | None = None,
) -> NDArray[np.float32]:
    """One sample per label, float32 [N, *shape], from seeds seed, seed + 1, ...: what `generate` would give.

    `guidance` is the scale for a network that takes one, and None for another; ValueError otherwise.
    """
    seeds = range(seed, seed + len(labels))
    return sample(numpy_jump(flow_map), shape, grid, seeds, list(labels), guidance, batch=64)


def to_images(z: NDArray[np.float32]) -> NDArray[np.uint8]:
    """z [N, C, H, W] in [-1, 1] -> uint8 [N, H, W, 3], as the decode graph does it; grey is replicated.

    Of latents with other numbers of channels the first three are shown (of two, the first).
    """
    pixels = np.round(np.clip(127.5 * z + 127.5, 0, 255)).astype(np.uint8).transpose(0, 2, 3, 1)
    return pixels[..., :3] if pixels.shape[3] >= 3 else np.repeat(pixels[..., :1], 3, axis=3)

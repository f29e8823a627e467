"""A picture of samples beside the training pictures that are nearest to them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from export.runtime.images import encode

ROWS = 10
"""Samples of each half."""

NEIGHBOURS = 5

LEAST_SIDE = 64
"""Smaller pictures are shown enlarged."""


def chosen(distances: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which samples are shown: the first ones, none picked, and those nearest to a training picture; rows of [N]."""
    count = min(ROWS, len(distances))
    return np.arange(count), np.argsort(distances, kind="stable")[:count]


def panel(halves: list[tuple[NDArray[np.uint8], NDArray[np.uint8]]]) -> bytes:
    """A PNG: for each half a row per sample, the sample at the left and its neighbours, the nearest first.

    Args:
        halves: samples uint8 [R, H, W, C] and their neighbours [R, NEIGHBOURS, H, W, C]; grey is replicated.
    """
    blocks = []
    for samples, neighbours in halves:
        times = -(-LEAST_SIDE // samples.shape[1])
        rows = [np.concatenate([_large(one, times), *(_large(near, times) for near in few)], axis=1)
                for one, few in zip(samples, neighbours, strict=True)]  # fmt: skip
        block = np.concatenate(rows)
        line = times * samples.shape[2] + 2
        blocks.append(np.concatenate([block[:, :line], _white(block, 6), block[:, line:]], axis=1))
    return encode(np.concatenate([blocks[0], _white(blocks[0], 30), *blocks[1:]], axis=1), "png")


def _large(image: NDArray[np.uint8], times: int) -> NDArray[np.uint8]:
    shown = np.broadcast_to(image, (*image.shape[:2], 3))
    return np.pad(shown.repeat(times, axis=0).repeat(times, axis=1), ((1, 1), (1, 1), (0, 0)), constant_values=255)


def _white(block: NDArray[np.uint8], width: int) -> NDArray[np.uint8]:
    return np.full((len(block), width, 3), 255, np.uint8)

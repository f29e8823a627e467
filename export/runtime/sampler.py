"""Sampling: z <- a * jump(z, t, s) + b * n along a grid. The one place where it is written.

`jump` is any callable on numpy arrays, an engine's method or a network behind an adapter:
jump(z f32[B, ...], t f32[B], s f32[B], label i64[B], guidance f32[B] or None) -> z_s f32[B, ...].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from export.runtime.grids import Step
from export.runtime.noise import INITIAL_STEP, normal

Jump = Callable[
    [
        NDArray[np.float32],
        NDArray[np.float32],
        NDArray[np.float32],
        NDArray[np.int64],
        NDArray[np.float32] | None,
    ],
    NDArray[np.float32],
]


def noise_rows(seeds: Sequence[int], step: int, z_shape: Sequence[int]) -> NDArray[np.float32]:
    """The noise of several samples, float32 [B, *z_shape]: row i is normal(seeds[i], step, z_shape)."""
    rows = np.empty((len(seeds), *z_shape), dtype=np.float32)
    for row, seed in zip(rows, seeds, strict=True):
        normal(seed, step, z_shape, out=row)
    return rows


def advance(
    jumped: NDArray[np.float32], a: ArrayLike, b: ArrayLike, noise: NDArray[np.float32] | None
) -> NDArray[np.float32]:
    """The end of a step: a * jumped + b * noise, row by row; float32 [B, ...].

    `a` and `b` are numbers or [B], so rows of different grids may share a batch; rows with b = 0 never read
    their noise. With a = 1 and b = 0 everywhere the result is `jumped` itself. Raises ValueError if some b is
    not 0 and `noise` is None.
    """
    per_row = (-1,) + (1,) * (jumped.ndim - 1)
    scale = np.asarray(a, dtype=np.float32).reshape(per_row)
    spread = np.asarray(b, dtype=np.float32).reshape(per_row)
    noisy = bool(spread.any())
    if not noisy and (scale == 1.0).all():
        return jumped  # a flow step
    z = jumped * scale
    if noisy:
        if noise is None:
            raise ValueError("the step adds noise (b is not 0), but none was given")
        np.add(z, spread * noise, out=z, where=spread != 0)
    return z


def heading(z: NDArray[np.float32], jumped: NDArray[np.float32], t: ArrayLike, s: ArrayLike) -> NDArray[np.float32]:
    """The sample that a jump from `z` at t to `jumped` at s is heading for: z_s - s * u with its average velocity u.

    That is where the straight line through both meets t = 0; at s = 0 it is `jumped`. z, jumped f32 [B, ...]; t > s
    are numbers or [B]. It shows a viewer what comes before it is there.
    """
    per_row = (-1,) + (1,) * (jumped.ndim - 1)
    start = np.asarray(t, dtype=np.float32).reshape(per_row)
    end = np.asarray(s, dtype=np.float32).reshape(per_row)
    return jumped - end / (start - end) * (z - jumped)


def sample(
    jump: Jump,
    z_shape: Sequence[int],
    grid: Sequence[Step],
    seeds: Sequence[int],
    labels: Sequence[int] | NDArray[np.int64],
    guidance: float | Sequence[float] | NDArray[np.float32] | None = None,
    batch: int = 16,
) -> NDArray[np.float32]:
    """Draw one sample for each seed, float32 [N, *z_shape] at t = 0.

    Sample i starts from normal(seeds[i], 0, z_shape) and after jump k of the grid adds normal(seeds[i], k,
    z_shape) where the step asks for noise. `labels` are [N] integers, `guidance` one number, [N], or None for
    a map without that input. At most `batch` samples share one call of `jump`.
    """
    count = len(seeds)
    if len(labels) != count:
        raise ValueError(f"{count} seeds but {len(labels)} labels")
    all_labels = np.asarray(labels, dtype=np.int64)
    scales = None if guidance is None else np.broadcast_to(np.asarray(guidance, np.float32), (count,))
    samples = np.empty((count, *z_shape), dtype=np.float32)
    for start in range(0, count, batch):
        rows = slice(start, start + batch)
        z = noise_rows(seeds[rows], INITIAL_STEP, z_shape)
        scale = None if scales is None else np.ascontiguousarray(scales[rows])
        for number, step in enumerate(grid, start=1):
            t = np.full(len(z), step.t, dtype=np.float32)
            s = np.full(len(z), step.s, dtype=np.float32)
            noise = noise_rows(seeds[rows], number, z_shape) if step.b else None
            z = advance(jump(z, t, s, all_labels[rows], scale), step.a, step.b, noise)
        samples[rows] = z
    return samples

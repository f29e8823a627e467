"""The noise: a function of (seed, step, shape) only, the same bits on every machine and beside any batch.

Philox4x64-10 (numpy's bit generator, whose stream is guaranteed) is keyed by (seed, step). Its 64-bit outputs
are cut into 16-bit words, least significant word first, and every word is looked up in a table of 65,536
normal quantiles, entry i being the float32 nearest to ndtri((i + 0.5) / 65536). No transcendental function
runs, so another device can give the same bits. The values lie in [-4.33, 4.33]; their mean is exactly 0 and
their variance 0.99998.

For who writes it for a device: the key is the pair of 64-bit words (seed, step); output block k = 0, 1, ...
is Philox at counter (k + 1, 0, 0, 0), because numpy counts up before it computes, and holds normals 16 k to
16 k + 15, C order.

The table is symmetric, so `normal_quantiles.npy` stores its upper half. It was written by
`numpy.save("normal_quantiles.npy", scipy.special.ndtri((numpy.arange(32768, 65536) + 0.5) /
65536).astype("<f4"))`.
"""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SEED_BOUND = 2**63
"""Seeds are 0 <= seed < SEED_BOUND."""

LABEL_STEP = 2**64 - 1
"""The step of the stream that labels are drawn from; no sampler reaches it."""

INITIAL_STEP = 0
"""The step of z at t = 1. The noise added after jump k = 1, 2, ... of a grid has step k."""

_SMALLEST_SINE = 1e-4
"""Of the angle between two noises; below it slerp divides by nearly nothing."""

_local = threading.local()
_ZEROS = np.zeros(4, dtype=np.uint64)


@functools.cache
def quantile_table() -> NDArray[np.float32]:
    """All 65,536 quantiles, float32 [65536], rising; read-only."""
    upper = np.load(Path(__file__).with_name("normal_quantiles.npy")).astype(np.float32)
    table = np.concatenate([-upper[::-1], upper])
    table.flags.writeable = False
    return table


def check_seed(seed: int) -> int:
    """Return `seed` if 0 <= seed < 2**63, else raise ValueError."""
    if not 0 <= seed < SEED_BOUND:
        raise ValueError(f"seed {seed} is outside 0 to 2**63 - 1 ({SEED_BOUND - 1})")
    return seed


def _raw(seed: int, step: int, count: int) -> NDArray[np.uint64]:
    """The first `count` outputs of Philox4x64-10 with the key (seed, step)."""
    check_seed(seed)
    if not 0 <= step <= LABEL_STEP:
        raise ValueError(f"noise step {step} is outside 0 to 2**64 - 1")
    # A new Philox asks the system for entropy that a key makes useless (8 us of 15): each thread keeps one
    # and re-keys it.
    philox = getattr(_local, "philox", None)
    if philox is None:
        philox = _local.philox = np.random.Philox(key=0)
    philox.state = {
        "bit_generator": "Philox",
        "state": {"counter": _ZEROS, "key": np.array([seed, step], dtype=np.uint64)},
        "buffer": _ZEROS,
        "buffer_pos": 4,
        "has_uint32": 0,
        "uinteger": 0,
    }
    return philox.random_raw(count)


def normal(seed: int, step: int, shape: Sequence[int], out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
    """Standard normal noise, float32 [*shape], a function of (seed, step, shape).

    `step` is 0 for the z a sample starts from and k for the noise added after jump k. With `out` (float32,
    contiguous, of this shape) the values are written there. A longer shape continues a shorter one: the first
    n values are the same. Raises ValueError for a seed or step out of range.
    """
    count = math.prod(shape)
    words = _raw(seed, step, -(-count // 4)).astype("<u8", copy=False).view("<u2")[:count]
    if out is None:
        out = np.empty(tuple(shape), dtype=np.float32)
    elif out.shape != tuple(shape) or out.dtype != np.float32 or not out.flags.c_contiguous:
        raise ValueError(f"out must be contiguous float32 {tuple(shape)}, got {out.dtype} {out.shape}")
    # Every 16-bit word is a valid index; "clip" only spares numpy a second buffer.
    np.take(quantile_table(), words, out=out.reshape(-1), mode="clip")
    return out


def interpolate(x: NDArray[np.float32], y: NDArray[np.float32], w: float) -> NDArray[np.float32]:
    """The noise at `w` in [0, 1] of the way from `x` to `y` on the sphere (slerp), float32, shaped like them.

    Norms between those of the ends, as a network expects of noise; exactly `x` at w = 0 and `y` at w = 1. Ends that
    are parallel, or a zero end, leave no arc: the line between them is taken. ValueError for another `w`.
    """
    if not 0.0 <= w <= 1.0:
        raise ValueError(f"w={w:g} is outside 0 to 1")
    if w in (0.0, 1.0) or np.array_equal(x, y):
        return (y if w == 1.0 else x).copy()
    # Sums in double precision, and factors rounded to float32: the last bits, in which machines' sums and sines differ,
    # do not reach the result.
    product, square_x, square_y = (
        float(np.multiply(one, other, dtype=np.float64).sum()) for one, other in ((x, y), (x, x), (y, y))
    )
    norms = math.sqrt(square_x * square_y)
    angle = math.acos(max(-1.0, min(1.0, product / norms))) if norms else 0.0
    if math.sin(angle) < _SMALLEST_SINE:
        from_x, from_y = 1.0 - w, w
    else:
        from_x, from_y = (math.sin(part * angle) / math.sin(angle) for part in (1.0 - w, w))
    return np.float32(from_x) * x + np.float32(from_y) * y


def draw_label(seed: int, count: int) -> int:
    """The label 0 <= label < count that stands in when a request names none; drawn from the seed.

    It has its own stream, so it does not depend on the noise. With `count` 0 (an unconditional model) it is
    0, the null label.
    """
    return int(_raw(seed, LABEL_STEP, 1)[0]) * count >> 64

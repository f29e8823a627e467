"""What the machine can do at most, by numpy: matrix products and bytes moved in a second, on some threads."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

SIDE = 1024
"""Of the matrices: large enough that their product is bound by arithmetic."""

BYTES = 2**27
"""Of the array that is copied: larger than caches."""


class Limits(NamedTuple):
    """A machine's, per second."""

    flops: float
    """float32 matrix products; a multiply-accumulate is 2."""
    bytes: float
    """Read and written, in a copy from memory to memory."""


def limits(threads: int, seconds: float) -> Limits:
    """The best of what can be tried in about `seconds`.

    numpy's own threads are set by OPENBLAS_NUM_THREADS, before it is imported; copying shares itself out.
    """
    a = np.full((SIDE, SIDE), 0.5, dtype=np.float32)
    product = np.empty_like(a)
    flops = 2 * SIDE**3 / _best(lambda: np.matmul(a, a, out=product), seconds / 2)
    source, target = np.zeros(BYTES, dtype=np.uint8), np.ones(BYTES, dtype=np.uint8)
    parts = [slice(i * BYTES // threads, (i + 1) * BYTES // threads) for i in range(threads)]
    with ThreadPoolExecutor(threads) as pool:

        def copy() -> None:
            list(pool.map(lambda part: np.copyto(target[part], source[part]), parts))

        return Limits(flops, 2 * BYTES / _best(copy, seconds / 2))


def _best(run: Callable[[], object], seconds: float) -> float:
    """The shortest time of one run, of at least three."""
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)

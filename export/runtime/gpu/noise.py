"""The design's noise made on the GPU, by noise.cu beside this file: one launch for all rows of a tick."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from export.runtime.noise import SEED_BOUND, quantile_table

NO_SEED = SEED_BOUND
"""In place of a seed: the row is not to be made."""

NORMALS = 16
"""What a thread makes."""

THREADS = 128
"""Of a CUDA block."""


def source() -> str:
    """The CUDA C++ of the kernel `normal_rows`."""
    return Path(__file__).with_name("noise.cu").read_text(encoding="ascii")


def grid(count: int, rows: int) -> tuple[int, int]:
    """CUDA blocks that the kernel runs in, (x, y), for `rows` rows of `count` normals."""
    return -(-count // (NORMALS * THREADS)), rows


class Noise:
    """The kernel and its table on one GPU."""

    def __init__(self, cupy: Any) -> None:
        """Compile it (NVRTC, a moment; CuPy keeps the result in its cache) and send the table."""
        self._kernel = cupy.RawModule(code=source(), options=("--std=c++17",)).get_function("normal_rows")
        self._table = cupy.asarray(quantile_table())

    def queue(self, seeds: int, steps: int, out: int, count: int, rows: int, stream: Any) -> None:
        """Queue the noise of `rows` rows of `count` normals on CuPy's `stream`.

        The addresses are of u64 [rows], u64 [rows] and f32 [rows, count] on the device. Rows whose seed is NO_SEED or
        more stay as they are.
        """
        addresses = [np.uint64(address) for address in (seeds, steps, self._table.data.ptr, out)]
        with stream:
            self._kernel(grid(count, rows), (THREADS,), (*addresses, np.uint64(count), np.uint32(rows)))

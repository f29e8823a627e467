"""The GPU's noise is the CPU's, bit for bit: its CUDA source, read by a C++ compiler that runs every thread in turn."""

from __future__ import annotations

import ctypes
import hashlib
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from export.runtime.gpu.noise import NO_SEED, THREADS, grid, source
from export.runtime.noise import SEED_BOUND, normal, quantile_table

from .test_noise_differs_between_machines import GOLDEN, GOLDEN_SHA256

# What CUDA gives the kernel, for a machine that runs one thread at a time.
CUDA = """
#define __device__
#define __global__
struct Place { unsigned int x, y; };
static Place threadIdx, blockIdx, blockDim;
static unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
    return (unsigned __int128)a * b >> 64;
}
"""
LAUNCH = """
extern "C" void launch(unsigned int x, unsigned int y, unsigned int threads, const Word* seeds, const Word* steps,
                       const float* table, float* out, Word count, unsigned int rows) {
    blockDim = {threads, 1};
    for (blockIdx.y = 0; blockIdx.y < y; ++blockIdx.y)
        for (blockIdx.x = 0; blockIdx.x < x; ++blockIdx.x)
            for (threadIdx.x = 0; threadIdx.x < threads; ++threadIdx.x)
                normal_rows(seeds, steps, table, out, count, rows);
}
"""
UNTOUCHED = np.float32(77.0)


class Kernel:
    def __init__(self, folder: Path, code: str) -> None:
        compiler = shutil.which("g++") or shutil.which("c++") or shutil.which("clang++")
        assert compiler is not None, "a C++ compiler is needed (on Debian: apt install g++)"
        library = folder / f"noise-{hashlib.sha256(code.encode()).hexdigest()[:8]}.so"
        subprocess.run(
            (compiler, "-x", "c++", "-std=c++17", "-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-o", library, "-"),
            input=CUDA + code + LAUNCH,
            text=True,
            check=True,
        )
        self._library = ctypes.CDLL(str(library))

    def __call__(self, keys: list[tuple[int, int]], count: int, blocks: tuple[int, int] | None = None) -> np.ndarray:
        """The rows that it makes, f32 [rows, count]; beyond them nothing may be written."""
        seeds, steps = np.array(keys, dtype=np.uint64).reshape(-1, 2).T.copy()
        rows = len(keys)
        out = np.full(rows * count + 64, UNTOUCHED)
        table = np.array(quantile_table())
        addresses = [ctypes.c_void_p(values.ctypes.data) for values in (seeds, steps, table, out)]
        x, y = blocks or grid(count, rows)
        self._library.launch(x, y, THREADS, *addresses, ctypes.c_ulonglong(count), ctypes.c_uint(rows))
        assert (out[rows * count :] == UNTOUCHED).all(), "written beyond the last row"
        return out[: rows * count].reshape(rows, count)


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Kernel:
    return Kernel(tmp_path_factory.mktemp("kernel"), source())


def same(kernel: Kernel, keys: list[tuple[int, int]], count: int) -> bool:
    expected = np.stack([normal(seed, step, (count,)) for seed, step in keys])
    return kernel(keys, count).tobytes() == expected.tobytes()


def test_golden_values(kernel: Kernel) -> None:
    for key, expected in GOLDEN.items():
        assert kernel([key], 5)[0].tolist() == expected
    assert hashlib.sha256(kernel([(7, 0)], 3 * 32 * 32).astype("<f4").tobytes()).hexdigest() == GOLDEN_SHA256


# Around a Philox word, a thread's share, a CUDA block's share; one of a point, and of an odd latent.
@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 15, 16, 17, 31, 33, 2047, 2048, 2049, 4100, 3 * 7 * 5])
def test_every_count(kernel: Kernel, count: int) -> None:
    assert same(kernel, [(11, 0), (2**40 + 9, 5), (0, 0)], count)


def test_rows_have_keys_of_their_own(kernel: Kernel) -> None:
    keys = [(seed, step) for seed in (0, 1, 2**32, 2**63 - 1) for step in (0, 1, 2**32 + 1, 2**64 - 2)]
    assert same(kernel, keys, 50)


def test_a_row_without_a_seed_stays(kernel: Kernel) -> None:
    rows = kernel([(3, 0), (NO_SEED, 0), (2**64 - 1, 0), (4, 0)], 100)
    assert (rows[1:3] == UNTOUCHED).all()
    assert rows[0].tobytes() == normal(3, 0, (100,)).tobytes()
    assert rows[3].tobytes() == normal(4, 0, (100,)).tobytes()
    assert NO_SEED >= SEED_BOUND


def test_more_threads_than_work_do_nothing(kernel: Kernel) -> None:
    keys = [(5, 0), (6, 0)]
    x, y = grid(33, 2)
    # Rows beyond the second have no seed: to look for one would be a fault by itself, so only columns are added.
    assert kernel(keys, 33, (x + 3, y)).tobytes() == kernel(keys, 33).tobytes()
    assert (grid(1, 1), grid(16 * THREADS, 3), grid(16 * THREADS + 1, 3)) == ((1, 1), (1, 3), (2, 3))


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("philox(block + 1,", "philox(block,"),
        ("seeds[row], steps[row], words", "steps[row], seeds[row], words"),
        ("16 * (i % 4)", "16 * (3 - i % 4)"),
        ("round < 10", "round < 9"),
    ],
)
def test_a_mistake_would_be_seen(tmp_path: Path, right: str, wrong: str) -> None:
    assert right in source()
    broken = Kernel(tmp_path, source().replace(right, wrong))
    assert not same(broken, [(7, 1)], 33)

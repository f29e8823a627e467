"""The GPU's noise is the CPU's, bit for bit, by the GPU itself."""

from __future__ import annotations

import numpy as np
import pytest

from export.runtime.engines.device import CupyDevice
from export.runtime.gpu.noise import NO_SEED
from export.runtime.noise import normal

pytestmark = pytest.mark.gpu

KEYS = [(0, 0), (7, 0), (7, 1), (2**63 - 1, 3), (NO_SEED, 0), (2**40 + 9, 2**64 - 2)]


@pytest.mark.parametrize("count", [1, 2, 15, 16, 17, 33, 2048, 2049, 3 * 32 * 32, 4 * 64 * 64 + 5])
def test_bits(count: int) -> None:
    device = CupyDevice()
    keys = device.pinned(16 * len(KEYS)).view(np.uint64).reshape(2, len(KEYS))
    keys[...] = np.array(KEYS, dtype=np.uint64).T
    there, out = device.allocate(keys.nbytes), device.allocate(4 * count * len(KEYS))
    there.upload(keys)
    device.noise(there.pointer, there.pointer + 8 * len(KEYS), out.pointer, count, len(KEYS))
    made = device.pinned(4 * count * len(KEYS)).view(np.float32).reshape(len(KEYS), count)
    out.download(made)
    device.mark().wait()
    for row, (seed, step) in zip(made, KEYS):
        expected = np.zeros(count, np.float32) if seed == NO_SEED else normal(seed, step, (count,))
        assert row.tobytes() == expected.tobytes()

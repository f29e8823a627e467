"""Rows of zeros: what an engine is warmed and timed with."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from export.runtime.manifest import Manifest

if TYPE_CHECKING:
    from export.runtime.engines import Engine


class Inputs(NamedTuple):
    """The arguments of a jump, in its order."""

    z: NDArray[np.float32]
    t: NDArray[np.float32]
    s: NDArray[np.float32]
    label: NDArray[np.int64]
    guidance: NDArray[np.float32] | None


def zeros(manifest: Manifest, rows: int) -> Inputs:
    """A jump of `rows` rows of zeros from 1 to 0, without a label, at the usual guidance."""
    scale = manifest.guidance
    return Inputs(
        np.zeros((rows, *manifest.z_shape), dtype=np.float32),
        np.ones(rows, dtype=np.float32),
        np.zeros(rows, dtype=np.float32),
        np.full(rows, manifest.null_label, dtype=np.int64),
        None if scale is None else np.full(rows, scale.default, dtype=np.float32),
    )


def timed(engine: Engine, rows: int) -> float:
    """Seconds that one jump of `rows` rows of zeros takes, from arrays in memory to arrays in memory."""
    inputs = zeros(engine.manifest, rows)
    start = time.perf_counter()
    engine.jump(*inputs)
    return time.perf_counter() - start

"""The jump's inputs and output, as a Road carries them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.runtime.gpu.road import Tensor
from export.runtime.manifest import Manifest

OUTPUT = "z_s"


def jump_tensors(manifest: Manifest) -> dict[str, Tensor]:
    """The jump's inputs in their order, and OUTPUT at the end."""
    number, whole = Tensor((), np.dtype(np.float32)), Tensor((), np.dtype(np.int64))
    z = Tensor(tuple(manifest.z_shape), np.dtype(np.float32))
    scale = {} if manifest.guidance is None else {"guidance": number}
    return {"z": z, "t": number, "s": number, "label": whole, **scale, OUTPUT: z}


def named(
    z: NDArray[np.float32],
    t: NDArray[np.float32],
    s: NDArray[np.float32],
    label: NDArray[np.int64],
    guidance: NDArray[np.float32] | None,
) -> dict[str, NDArray[Any]]:
    """The arguments of Engine.jump by the names of the graph's inputs."""
    values: dict[str, NDArray[Any]] = {"z": z, "t": t, "s": s, "label": label}
    return values if guidance is None else {**values, "guidance": guidance}

"""The jump's inputs and output, as a Road carries them."""

from __future__ import annotations

import numpy as np

from export.runtime.gpu.road import Tensor
from export.runtime.manifest import Manifest

OUTPUT = "z_s"


def jump_tensors(manifest: Manifest) -> dict[str, Tensor]:
    """The jump's inputs in their order, and OUTPUT at the end."""
    number, whole = Tensor((), np.dtype(np.float32)), Tensor((), np.dtype(np.int64))
    z = Tensor(tuple(manifest.z_shape), np.dtype(np.float32))
    scale = {} if manifest.guidance is None else {"guidance": number}
    return {"z": z, "t": number, "s": number, "label": whole, **scale, OUTPUT: z}

"""The arguments of a jump by the names of its graph's inputs."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def named(
    z: NDArray[np.float32],
    t: NDArray[np.float32],
    s: NDArray[np.float32],
    label: NDArray[np.int64],
    guidance: NDArray[np.float32] | None,
) -> dict[str, NDArray[Any]]:
    """The arguments of Engine.jump by name; `guidance` only where there is one."""
    values: dict[str, NDArray[Any]] = {"z": z, "t": t, "s": s, "label": label}
    return values if guidance is None else {**values, "guidance": guidance}

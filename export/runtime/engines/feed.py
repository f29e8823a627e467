"""The arguments of a jump by the names of its graph's inputs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.runtime.manifest import Manifest


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


def check_inputs(found: Iterable[str], manifest: Manifest, where: str) -> None:
    """Raise ValueError unless a graph (`where` names it) has the inputs that `named` will give it."""
    expected = {"z", "t", "s", "label"} | ({"guidance"} if manifest.guidance is not None else set())
    if set(found) != expected:
        raise ValueError(
            f"{where} has the inputs {', '.join(sorted(found))}; by the manifest a jump of {manifest.name} has "
            f"{', '.join(sorted(expected))}: export the bundle again"
        )

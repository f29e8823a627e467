"""The little that NumPy and torch do not spell alike, so that one formula serves both."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = Any
"""A NumPy array or a torch tensor; a function returns the kind it was given."""

Time: TypeAlias = Any
"""A time in [0, 1]: a float, or an array `[...]` with one time per sample."""


def namespace(z: Array) -> Any:
    """The module whose `exp`, `log` and `amax` take `z`: numpy or torch (imported only for a tensor)."""
    if isinstance(z, np.ndarray | np.generic):
        return np
    import torch

    return torch


def constant_like(values: np.ndarray, z: Array) -> Array:
    """`values` as the kind, precision and device of `z`."""
    if isinstance(z, np.ndarray | np.generic):
        return values
    return namespace(z).as_tensor(values, dtype=z.dtype, device=z.device)


def trailing(t: Time, axes: int = 1) -> Time:
    """`t` with `axes` more axes behind its own, to broadcast against `[..., D]`; a float stays a float."""
    return t[(..., *(None,) * axes)] if hasattr(t, "shape") else t

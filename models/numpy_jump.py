"""A flow map on numpy arrays: the form in which the runtime's sampler calls a jump, whatever computes it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from models.flow_map import FlowMap

Floats = NDArray[np.float32]


def numpy_jump(flow_map: FlowMap) -> Callable[[Floats, Floats, Floats, NDArray[np.int64], Floats | None], Floats]:
    """jump(z, t, s, label, guidance) of `flow_map`, computed on its device, without gradient.

    The callable raises ValueError if guidance is given to a flow map that does not take it, or not to one that does.
    """
    device = next(flow_map.parameters()).device

    def jump(z: Floats, t: Floats, s: Floats, label: NDArray[np.int64], guidance: Floats | None = None) -> Floats:
        inputs = [z, t, s, label] if guidance is None else [z, t, s, label, guidance]
        with torch.inference_mode():
            # Copies where an array is a read-only view, of which torch would warn.
            moved = flow_map.jump(
                *(torch.from_numpy(np.require(value, requirements="W")).to(device) for value in inputs)
            )
        z_s: Floats = moved.cpu().numpy()
        return z_s

    return jump

"""Averages of the weights over training (power-function EMA, Karras et al., arXiv 2312.02696, section 3)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn


def power_exponent(horizon: float) -> float:
    """The exponent gamma whose averaging profile t^gamma has the relative standard deviation `horizon` (eq. 123).

    Raises:
        ValueError: `horizon` is not in (0, 0.28); a flat average over all of training has 0.289.
    """
    if not 0 < horizon < 0.28:
        raise ValueError(f"an EMA horizon is a share of the run's length in (0, 0.28), not {horizon}")
    inverse = horizon**-2
    return float(np.roots([1, 7, 16 - inverse, 12 - inverse]).real.max())


def ema_name(horizon: float) -> str:
    """How a checkpoint names the average of a horizon: 0.050."""
    return f"{horizon:.3f}"


class PowerEMA:
    """One average. After k steps its profile is (i / k)^gamma: always the same share of the run, so no warm-up is due.

    Kept in float32 on the parameters' device.
    """

    def __init__(self, model: nn.Module, horizon: float) -> None:
        self.horizon = horizon
        self.exponent = power_exponent(horizon)
        self.state = {name: value.detach().clone() for name, value in model.state_dict().items()}

    @property
    def name(self) -> str:
        """See `ema_name`."""
        return ema_name(self.horizon)

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Take in the weights after optimiser step `step`, counted from 1."""
        decay = (1 - 1 / step) ** (self.exponent + 1)
        averages: list[Tensor] = []
        weights: list[Tensor] = []
        for name, value in model.state_dict().items():
            averages.append(self.state[name])
            weights.append(value)
        torch._foreach_lerp_(averages, weights, 1 - decay)


@contextmanager
def averaged(model: nn.Module, ema: PowerEMA) -> Iterator[None]:
    """Within it the model has the averaged weights and is in evaluation mode; afterwards its own, bit by bit."""
    own = {name: value.detach().clone() for name, value in model.state_dict().items()}
    model.load_state_dict(ema.state)
    model.eval()
    try:
        yield
    finally:
        model.load_state_dict(own)
        model.train()

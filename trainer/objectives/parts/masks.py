"""Dropout masks that two evaluations share, as a prediction and its target must."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from trainer.objectives.parts.target import Networks


class Masks:
    """Where torch's generator stands now; within `again()` the masks that came after it come again.

    Nothing where the networks have no dropout. In compiled code or in another precision dropout draws other masks from
    the same state, so both evaluations must be of one kind: `networks.exact`, say.
    """

    def __init__(self, networks: Networks, device: torch.device) -> None:
        self.device = device
        self.state = self._get() if networks.dropout else None

    @contextmanager
    def again(self) -> Iterator[None]:
        """Within it; afterwards the generator goes on from where it was."""
        if self.state is None:
            yield
            return
        ended = self._get()
        self._set(self.state)
        try:
            yield
        finally:
            self._set(ended)

    def _get(self) -> torch.Tensor:
        return torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else torch.get_rng_state()

    def _set(self, state: torch.Tensor) -> None:
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(state, self.device)
        else:
            torch.set_rng_state(state)

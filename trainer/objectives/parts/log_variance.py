"""A loss's own scale at every time, learned beside the network so that no time outweighs the others."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class LogVariance(nn.Module):
    """w(tau) of a loss exp(-w) l + w, which at rest is the logarithm of l's mean at tau (EDM2, arXiv 2312.02696,
    appendix B.2; sCM, arXiv 2410.11081, section 4.2, where its sign is the other one).

    A cosine series over [0, pi / 2], zero at initialisation. It is trained with the network and not exported.
    """

    def __init__(self, terms: int = 32) -> None:
        super().__init__()
        self.terms = terms
        self.mix = nn.Linear(terms, 1)
        nn.init.zeros_(self.mix.weight)
        nn.init.zeros_(self.mix.bias)

    def forward(self, tau: Tensor) -> Tensor:
        """tau [B] in [0, pi / 2] -> w [B]."""
        order = torch.arange(1, self.terms + 1, device=tau.device, dtype=tau.dtype)
        # sqrt(2) gives the features unit variance where tau is spread.
        value: Tensor = self.mix(math.sqrt(2) * torch.cos(2 * tau[:, None] * order))
        return value.squeeze(1)

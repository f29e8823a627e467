"""What a network is told besides z: the two times and the label, as one vector per sample."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class TimeEmbedding(nn.Module):
    """Low-frequency Fourier features of a time in [0, 1], then a two-layer perceptron.

    MeanFlow, iMF and AYF differentiate the network in t, so du/dt grows with the highest frequency: it is kept
    at `max_frequency` radians per unit time (2 pi by default, about EDM2's bandwidth 1), far below the thousands
    that diffusion models use.
    """

    def __init__(self, width: int, features: int = 64, max_frequency: float = 2 * math.pi) -> None:
        super().__init__()
        frequencies = torch.logspace(math.log2(max_frequency / 64), math.log2(max_frequency), features // 2, base=2)
        self.register_buffer("frequencies", frequencies, persistent=False)
        self.frequencies: Tensor
        self.mlp = nn.Sequential(nn.Linear(features, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, time: Tensor) -> Tensor:
        """time [B] -> embedding [B, width]."""
        angle = time[:, None] * self.frequencies
        # sqrt(2) gives the features unit variance where the angle is spread.
        embedded: Tensor = self.mlp(math.sqrt(2) * torch.cat([angle.cos(), angle.sin()], dim=1))
        return embedded


class Conditioning(nn.Module):
    """Sum of the embeddings of t, of the span t - s, and of the label.

    (t, t - s) conditions better than (t, s) (MeanFlow, arXiv 2505.13447, table 1c). Labels are 0..labels-1 and the
    null label is `labels`; an unconditional model has only the null label, 0.
    """

    def __init__(self, width: int, labels: int) -> None:
        super().__init__()
        self.time = TimeEmbedding(width)
        self.span = TimeEmbedding(width)
        self.label = nn.Embedding(labels + 1, width)
        nn.init.normal_(self.label.weight, std=0.02)

    def forward(self, t: Tensor, s: Tensor, label: Tensor) -> Tensor:
        """t [B], s [B], label int64 [B] -> [B, width]."""
        embedded: Tensor = self.time(t) + self.span(t - s) + self.label(label)
        return embedded

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
    """Sum of the embeddings of t, of the span t - s, and of the label; of guidance and augmentation where it has them.

    (t, t - s) conditions better than (t, s) (MeanFlow, arXiv 2505.13447, table 1c). Labels are 0..labels-1 and the
    null label is `labels`; an unconditional model has only the null label, 0. The scale w of guidance enters as
    1 - 1/w, in which the guided velocity's mix is linear (improved MeanFlow, arXiv 2512.02012). Augmentation enters in
    training only (Karras et al., arXiv 2206.00364, appendix F.2): no labels mean that nothing was done to the data.

    Args:
        width: of the embedding, and of what the network takes.
        labels: number of classes.
        guidance: whether the network is told the scale.
        augment: number of augmentation labels; 0 for a network that is not told.
    """

    def __init__(self, width: int, labels: int, guidance: bool = False, augment: int = 0) -> None:
        super().__init__()
        self.time = TimeEmbedding(width)
        self.span = TimeEmbedding(width)
        self.label = nn.Embedding(labels + 1, width)
        nn.init.normal_(self.label.weight, std=0.02)
        self.guidance = TimeEmbedding(width) if guidance else None
        self.augment = nn.Linear(augment, width, bias=False) if augment else None
        if self.augment is not None:
            nn.init.zeros_(self.augment.weight)

    def forward(
        self, t: Tensor, s: Tensor, label: Tensor, guidance: Tensor | None = None, augment: Tensor | None = None
    ) -> Tensor:
        """t [B], s [B], label int64 [B], guidance [B] > 0, augment [B, A] -> [B, width].

        Raises:
            ValueError: guidance is given to a network that does not take it, or not to one that does; augmentation
                labels are given to a network that does not take them.
        """
        if (guidance is None) != (self.guidance is None):
            raise ValueError(
                "this network takes a guidance scale" if self.guidance else "this network has no guidance input"
            )
        embedded: Tensor = self.time(t) + self.span(t - s) + self.label(label)
        if self.guidance is not None and guidance is not None:
            embedded = embedded + self.guidance(1 - 1 / guidance)
        if augment is not None:
            if self.augment is None:
                raise ValueError("this network takes no augmentation labels")
            embedded = embedded + self.augment(augment)
        return embedded

"""A residual perceptron for points in R^D."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from models.conditioning import Conditioning


class MLP(nn.Module):
    """Residual layers modulated by (t, t - s, label), as in the DiT but without attention; zero at initialisation.

    Args:
        dimensions: D of the points.
        labels: number of classes; label index `labels` is the null label.
        guidance, augment: see `Conditioning`.
    """

    def __init__(
        self,
        dimensions: int,
        labels: int,
        *,
        width: int = 128,
        depth: int = 3,
        guidance: bool = False,
        augment: int = 0,
    ) -> None:
        super().__init__()
        self.conditioning = Conditioning(width, labels, guidance, augment)
        self.embed = nn.Linear(dimensions, width)
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.modulations = nn.ModuleList(nn.Linear(width, 2 * width) for _ in range(depth))
        self.project = nn.Linear(width, dimensions)
        nn.init.zeros_(self.project.weight)
        nn.init.zeros_(self.project.bias)

    def forward(
        self,
        z: Tensor,
        t: Tensor,
        s: Tensor,
        label: Tensor,
        guidance: Tensor | None = None,
        augment: Tensor | None = None,
    ) -> Tensor:
        """z [B, D], the rest as `Conditioning` takes it -> [B, D]."""
        condition = F.silu(self.conditioning(t, s, label, guidance, augment))
        x = self.embed(z)
        for layer, modulation in zip(self.layers, self.modulations, strict=True):
            shift, scale = modulation(condition).chunk(2, dim=1)
            x = x + layer(F.silu(x * (1 + scale) + shift))
        out: Tensor = self.project(F.silu(x))
        return out

"""A residual perceptron for points in R^D."""

from __future__ import annotations

from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from models.conditioning import Conditioning
from models.network import Network


class MLP(Network):
    """Residual layers modulated by (t, t - s, label), as in the DiT but without attention; zero at initialisation.

    Args:
        dimensions: D of the points.
        labels: number of classes; label index `labels` is the null label.
        guidance, augment: see `Conditioning`.
    """

    LAST: ClassVar[tuple[str, ...]] = ("project",)

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

    def body(
        self,
        z: Tensor,
        t: Tensor,
        s: Tensor,
        label: Tensor,
        guidance: Tensor | None = None,
        augment: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """z [B, D], the rest as `Conditioning` takes it -> [B, W] twice."""
        condition = F.silu(self.conditioning(t, s, label, guidance, augment))
        x = self.embed(z)
        for layer, modulation in zip(self.layers, self.modulations, strict=True):
            shift, scale = modulation(condition).chunk(2, dim=1)
            x = x + layer(F.silu(x * (1 + scale) + shift))
        return x, condition

    def read(self, last: Any, features: Tensor, condition: Tensor, z: Tensor) -> Tensor:
        """[B, W] -> [B, D]."""
        out: Tensor = last.project(F.silu(features))
        return out

"""A diffusion transformer for images (Peebles & Xie, arXiv 2212.09748) with QK-norm and two-time conditioning."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.conditioning import Conditioning
from models.network import Network


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """x [B, L, W] scaled and shifted per sample and channel; shift and scale are [B, W]."""
    return x * (1 + scale[:, None]) + shift[:, None]


class Attention(nn.Module):
    """Multi-head self-attention with RMS-normalised queries and keys, which bounds the logits without tuning."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.query_norm = nn.RMSNorm(width // heads, eps=1e-6)
        self.key_norm = nn.RMSNorm(width // heads, eps=1e-6)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """[B, L, W] -> [B, L, W]."""
        batch, length, width = x.shape
        query, key, value = self.qkv(x).view(batch, length, 3, self.heads, width // self.heads).unbind(2)
        query, key = self.query_norm(query), self.key_norm(key)
        mixed = F.scaled_dot_product_attention(query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2))
        out: Tensor = self.out(mixed.transpose(1, 2).reshape(batch, length, width))
        return out


class Block(nn.Module):
    """Attention and perceptron, each modulated and gated by the conditioning (adaLN-zero: the identity at init)."""

    def __init__(self, width: int, heads: int, mlp_ratio: float) -> None:
        super().__init__()
        hidden = int(width * mlp_ratio)
        self.attention_norm = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.attention = Attention(width, heads)
        self.mlp_norm = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(approximate="tanh"), nn.Linear(hidden, width))
        self.modulation = nn.Linear(width, 6 * width)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """x [B, L, W], condition [B, W] -> [B, L, W]."""
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = self.modulation(condition).chunk(6, dim=1)
        x = x + gate_a[:, None] * self.attention(modulate(self.attention_norm(x), shift_a, scale_a))
        return x + gate_m[:, None] * self.mlp(modulate(self.mlp_norm(x), shift_m, scale_m))


class DiT(Network):
    """Patches in, adaLN-zero blocks, patches out, plus z itself by a learned gain of the times; zero at initialisation.

    The gain matters at one step: u(z, 1, 0) = z - x0 holds all of the noise, which the blocks would otherwise have to
    carry to the output, and what they drop of it stays in the picture as grain. It is EDM's skip connection, learned.

    Args:
        shape: z's shape (channels, height, width); height and width are multiples of `patch`.
        labels: number of classes; label index `labels` is the null label.
        guidance, augment: see `Conditioning`.
    """

    LAST: ClassVar[tuple[str, ...]] = ("modulation", "project", "gain")

    def __init__(
        self,
        shape: tuple[int, int, int],
        labels: int,
        *,
        patch: int = 4,
        width: int = 192,
        depth: int = 6,
        heads: int = 6,
        mlp_ratio: float = 4.0,
        guidance: bool = False,
        augment: int = 0,
    ) -> None:
        super().__init__()
        channels, height, side = shape
        if height % patch or side % patch:
            raise ValueError(f"a DiT of patch {patch} needs sides that are multiples of {patch}, not {height}x{side}")
        if width % heads or width % 4:
            raise ValueError(f"DiT width {width} must be a multiple of heads ({heads}) and of 4")
        self.patch = patch
        self.grid = (height // patch, side // patch)
        self.channels = channels
        self.conditioning = Conditioning(width, labels, guidance, augment)
        self.embed = nn.Linear(channels * patch * patch, width)
        self.position = nn.Parameter(position_encoding(*self.grid, width))
        self.blocks = nn.ModuleList(Block(width, heads, mlp_ratio) for _ in range(depth))
        self.norm = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.modulation = nn.Linear(width, 2 * width)
        self.project = nn.Linear(width, channels * patch * patch)
        self.gain = nn.Linear(width, channels)
        for layer in (self.modulation, self.project, self.gain):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def body(
        self,
        z: Tensor,
        t: Tensor,
        s: Tensor,
        label: Tensor,
        guidance: Tensor | None = None,
        augment: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """z [B, C, H, W], the rest as `Conditioning` takes it -> [B, L, W] and [B, W]."""
        (rows, columns), patch, channels = self.grid, self.patch, self.channels
        condition = F.silu(self.conditioning(t, s, label, guidance, augment))
        x = z.reshape(-1, channels, rows, patch, columns, patch).permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)
        x = self.embed(x) + self.position
        for block in self.blocks:
            x = block(x, condition)
        return x, condition

    def read(self, last: Any, features: Tensor, condition: Tensor, z: Tensor) -> Tensor:
        """[B, L, W] -> [B, C, H, W]."""
        (rows, columns), patch, channels = self.grid, self.patch, self.channels
        shift, scale = last.modulation(condition).chunk(2, dim=1)
        x = last.project(modulate(self.norm(features), shift, scale))
        x = x.reshape(-1, rows, columns, channels, patch, patch).permute(0, 3, 1, 4, 2, 5)
        gain: Tensor = last.gain(condition)[:, :, None, None] * z
        return x.reshape(-1, channels, rows * patch, columns * patch) + gain


def position_encoding(rows: int, columns: int, width: int) -> Tensor:
    """Two-dimensional sine-cosine encoding [rows * columns, width], half the channels for each axis."""
    quarter = width // 4
    frequencies = 1.0 / 10_000 ** (torch.arange(quarter) / quarter)
    row = torch.arange(rows)[:, None] * frequencies
    column = torch.arange(columns)[:, None] * frequencies
    parts = [
        table[:, None].expand(rows, columns, quarter) if axis == 0 else table[None].expand(rows, columns, quarter)
        for axis, angle in enumerate((row, column))
        for table in (angle.sin(), angle.cos())
    ]
    return torch.cat(parts, dim=2).reshape(rows * columns, 4 * quarter)

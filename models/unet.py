"""A U-Net for images in the manner of DDPM++ and ADM, with QK-norm attention and two-time conditioning.

Song et al. (arXiv 2011.13456, appendix H), Dhariwal & Nichol (arXiv 2105.05233, section 3), Karras et al. (arXiv
2206.00364, table 7).
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.conditioning import Conditioning
from models.dit import Attention
from models.network import Network

COARSEST = 8
"""Where nothing else is said, the ladder halves the picture until its shorter side is at most this."""


def default_multipliers(height: int, width: int) -> tuple[int, ...]:
    """Widths of the ladder for pictures of this size: 1, 2, 4, 4, ..., a level more while the sides can be halved.

    It stops at `COARSEST`, or where a side is odd: 1, 2, 4 at 32x32 and 28x28; 1, 2, 4, 4 at 64x64. Checkpoints whose
    architecture leaves `multipliers` out rely on this rule.
    """
    levels = 1
    while min(height, width) > COARSEST and height % 2 == 0 and width % 2 == 0:
        height, width, levels = height // 2, width // 2, levels + 1
    return tuple(min(2**level, 4) for level in range(levels))


class Convolution(nn.Module):
    """A convolution with padding that keeps the sides, or halves them with stride 2.

    Its kernel is held as the matrix [outputs, inputs * kernel * kernel] that it is to the optimiser: Muon
    orthogonalises matrices.
    """

    channels_last = False
    """Whether it computes in channels-last memory format; how it runs, and no part of what it is."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1, *, zero: bool = False) -> None:
        super().__init__()
        self.inputs, self.kernel, self.stride = inputs, kernel, stride
        self.weight = nn.Parameter(torch.zeros(outputs, inputs * kernel * kernel))
        self.bias = nn.Parameter(torch.zeros(outputs))
        if not zero:
            nn.init.normal_(self.weight, std=1 / math.sqrt(inputs * kernel * kernel))

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, H, W] -> [B, outputs, H / stride, W / stride]."""
        weight = self.weight.view(-1, self.inputs, self.kernel, self.kernel)
        if self.channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        return F.conv2d(x, weight, self.bias, self.stride, self.kernel // 2)


def set_channels_last(module: nn.Module, on: bool) -> None:
    """Let every convolution inside compute in channels-last memory format, or not."""
    for part in module.modules():
        if isinstance(part, Convolution):
            part.channels_last = on


class GroupNorm(nn.Module):
    """Group normalisation in groups of at least 4 channels, at most 32 of them (EDM's choice).

    Written as a layer norm over each group: torch's own group norm has no forward-mode derivative for every memory
    format, and this one becomes an ONNX operator that gives a row the same bits in any batch.

    Args:
        channels: C.
        affine: whether each channel has a scale and a shift of its own.
    """

    def __init__(self, channels: int, *, affine: bool) -> None:
        super().__init__()
        most = max(1, min(32, channels // 4))
        self.groups = next(groups for groups in range(most, 0, -1) if channels % groups == 0)
        self.scale = nn.Parameter(torch.ones(channels, 1, 1)) if affine else None
        self.shift = nn.Parameter(torch.zeros(channels, 1, 1)) if affine else None

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, H, W]."""
        grouped = x.reshape(x.shape[0], self.groups, -1)
        normal = F.layer_norm(grouped, grouped.shape[2:], eps=1e-6).view(x.shape)
        return normal if self.scale is None or self.shift is None else normal * self.scale + self.shift


class Block(nn.Module):
    """Two convolutions and, where there are heads, self-attention; each is a branch that is zero at initialisation.

    The conditioning scales and shifts what is between the convolutions (ADM's adaptive group normalisation). The sum
    of branch and input is divided by sqrt(2), so that its variance does not grow along the ladder (DDPM++).
    """

    def __init__(self, inputs: int, outputs: int, *, condition: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.first_norm = GroupNorm(inputs, affine=True)
        self.first = Convolution(inputs, outputs)
        self.second_norm = GroupNorm(outputs, affine=False)
        self.modulation = nn.Linear(condition, 2 * outputs)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)
        self.dropout = nn.Dropout(dropout)
        self.second = Convolution(outputs, outputs, zero=True)
        self.skip = Convolution(inputs, outputs, kernel=1) if inputs != outputs else nn.Identity()
        self.attention: Attention | None = None
        if heads:
            self.attention_norm = GroupNorm(outputs, affine=True)
            self.attention = Attention(outputs, heads)
            nn.init.zeros_(self.attention.out.weight)
            nn.init.zeros_(self.attention.out.bias)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """x [B, inputs, H, W], condition [B, condition] -> [B, outputs, H, W]."""
        branch = self.first(F.silu(self.first_norm(x)))
        branch = modulate(self.second_norm(branch), self.modulation(condition))
        branch = self.second(self.dropout(F.silu(branch)))
        x = (self.skip(x) + branch) * math.sqrt(0.5)
        if self.attention is None:
            return x
        places = self.attention_norm(x).flatten(2).transpose(1, 2)
        branch = self.attention(places).transpose(1, 2).reshape(x.shape)
        return (x + branch) * math.sqrt(0.5)


def modulate(x: Tensor, modulation: Tensor) -> Tensor:
    """x [B, C, H, W] scaled and shifted per sample and channel by modulation [B, 2 C]."""
    scale, shift = modulation[:, :, None, None].chunk(2, dim=1)
    return x * (1 + scale) + shift


class Down(nn.Module):
    """The blocks of one resolution on the way down, and the strided convolution that leads to the next one."""

    def __init__(self, blocks: list[Block], resample: Convolution | None = None) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.resample = resample

    def forward(self, x: Tensor, condition: Tensor) -> tuple[Tensor, list[Tensor]]:
        """x [B, C, H, W] -> what the next level begins with, and what the way up takes from this one."""
        left = [x]
        for block in self.blocks:
            left.append(block(left[-1], condition))
        return (left[-1] if self.resample is None else self.resample(left[-1])), left


class Up(nn.Module):
    """The blocks of one resolution on the way up, behind a doubling of the coarser one and a convolution."""

    def __init__(self, blocks: list[Block], resample: Convolution | None = None) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.resample = resample

    def forward(self, x: Tensor, left: list[Tensor], condition: Tensor) -> Tensor:
        """x of the coarser level and what this one left on the way down, the latest last -> [B, C, H, W]."""
        if self.resample is not None:
            x = self.resample(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        for block, kept in zip(self.blocks, reversed(left), strict=True):
            x = block(torch.cat([x, kept], dim=1), condition)
        return x


class UNet(Network):
    """Down a ladder of resolutions and up again, each block on the way up taking what one on the way down left.

    Like `models.dit.DiT` it ends in a zero convolution plus z by a learned gain of the times, and so is zero at
    initialisation.

    Args:
        shape: z's shape (channels, height, width); the sides are multiples of 2^(levels - 1).
        labels: number of classes; label index `labels` is the null label.
        channels: width of the finest level; the conditioning is four times as wide.
        multipliers: width of each level as a multiple of `channels`, finest first; see `default_multipliers`.
        blocks: residual blocks of a level on the way down; there is one more on the way up.
        attention: the blocks of levels whose longer side is at most this have self-attention; 0 for none.
        head_width: channels of an attention head.
        dropout: inside each block, in training.
        guidance, augment: see `Conditioning`.

    Raises:
        ValueError: the sides cannot be halved so often, or a width is not a multiple of `head_width`.
    """

    LAST: ClassVar[tuple[str, ...]] = ("modulation", "project", "gain")

    def __init__(
        self,
        shape: tuple[int, int, int],
        labels: int,
        *,
        channels: int = 32,
        multipliers: tuple[int, ...] | None = None,
        blocks: int = 2,
        attention: int = 8,
        head_width: int = 32,
        dropout: float = 0.0,
        guidance: bool = False,
        augment: int = 0,
    ) -> None:
        super().__init__()
        planes, height, side = shape
        multipliers = multipliers or default_multipliers(height, side)
        times = 2 ** (len(multipliers) - 1)
        if height % times or side % times:
            raise ValueError(
                f"a U-Net of {len(multipliers)} levels needs sides that are multiples of {times}, not {height}x{side}"
            )
        widths = [channels * multiplier for multiplier in multipliers]
        condition = 4 * channels

        def block(level: int, inputs: int) -> Block:
            width = widths[level]
            heads = 0
            if max(height, side) <= attention * 2**level:
                if width > head_width and width % head_width:
                    raise ValueError(f"U-Net width {width} must be a multiple of head_width ({head_width})")
                heads = max(1, width // head_width)
            return Block(inputs, width, condition=condition, heads=heads, dropout=dropout)

        self.conditioning = Conditioning(condition, labels, guidance, augment)
        self.embed = Convolution(planes, widths[0])
        self.down = nn.ModuleList()
        self.up = nn.ModuleList()
        for level, width in enumerate(widths):
            coarser = widths[level + 1] if level + 1 < len(widths) else None
            halve = None if coarser is None else Convolution(width, coarser, stride=2)
            self.down.append(Down([block(level, width) for _ in range(blocks)], halve))
            double = None if coarser is None else Convolution(coarser, width)
            self.up.insert(0, Up([block(level, 2 * width) for _ in range(blocks + 1)], double))
        coarsest = len(widths) - 1
        self.middle = Down([block(coarsest, widths[-1]) for _ in range(2)])
        self.norm = GroupNorm(widths[0], affine=False)
        self.modulation = nn.Linear(condition, 2 * widths[0])
        self.project = Convolution(widths[0], planes, zero=True)
        self.gain = nn.Linear(condition, planes)
        for layer in (self.modulation, self.gain):
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
        """z [B, C, H, W], the rest as `Conditioning` takes it -> [B, channels, H, W] and [B, 4 channels]."""
        condition = F.silu(self.conditioning(t, s, label, guidance, augment))
        x = self.embed(z)
        kept = []
        for level in self.down:
            x, left = level(x, condition)
            kept.append(left)
        x, _ = self.middle(x, condition)
        for level in self.up:
            x = level(x, kept.pop(), condition)
        return x, condition

    def read(self, last: Any, features: Tensor, condition: Tensor, z: Tensor) -> Tensor:
        """[B, channels, H, W] -> [B, C, H, W]."""
        x = F.silu(modulate(self.norm(features), last.modulation(condition)))
        out: Tensor = last.project(x) + last.gain(condition)[:, :, None, None] * z
        return out

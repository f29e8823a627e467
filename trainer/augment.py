"""Augmentation that the network is told of, so that it stays out of samples (Karras et al., arXiv 2206.00364, F.2).

Each picture of a batch is mirrored, scaled, turned, stretched and shifted at random, and the network gets the numbers
as `augment` [B, 9]. Zeros mean that nothing was done, and that is what sampling asks for. It is meant for pixels:
latents of a turned picture are not turned latents.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Generator, Tensor
from torch.nn.functional import grid_sample

from trainer.shard import Shard

SCALE = 2**0.2  # a standard deviation of scaling, and of anisotropy
SHIFT = 1 / 8  # a standard deviation of translation, in widths and heights


@dataclass(frozen=True)
class Parameters:
    """What is done to each row, [B] each; 0 where a transform is off. The letters a0 to a7 are the paper's."""

    x_flip: Tensor  # a0, 0 or 1
    y_flip: Tensor  # a1, 0 or 1
    scaling: Tensor  # a2: larger by the factor SCALE^a2
    rotation: Tensor  # a3, radians, clockwise as one sees it
    axis: Tensor  # a4, radians, clockwise from the horizontal: the axis of anisotropy
    anisotropy: Tensor  # a5: longer along the axis by SCALE^a5, shorter across it
    x_shift: Tensor  # a6: to the right by SHIFT * a6 widths
    y_shift: Tensor  # a7: down by SHIFT * a7 heights

    def part(self, shard: Shard) -> Parameters:
        """The shard's rows."""
        return Parameters(**{name: shard.rows(value) for name, value in vars(self).items()})

    @property
    def labels(self) -> Tensor:
        """What the network is told, [B, 9]: zeros where nothing is done, and only there; nothing jumps at +-pi."""
        a = self
        columns = (
            a.x_flip, a.y_flip, a.scaling, a.rotation.cos() - 1, a.rotation.sin(),
            a.anisotropy * a.axis.cos(), a.anisotropy * a.axis.sin(), a.x_shift, a.y_shift,
        )  # fmt: skip
        return torch.stack(columns, dim=1)


class Augment(BaseModel):
    """Which transforms there are, with the paper's strengths, and how often.

    Each but the x-flip is done to a row with `probability`, independently of the others; the paper has 0.12 for
    CIFAR-10 and 0.15 for faces at 64x64. The x-flip, where it is among them, mirrors half of all rows, as in the
    paper's runs. Switch off what changes the meaning of a picture: flips of digits, say.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    LABELS: ClassVar[int] = 9
    """Numbers that the network is told per row."""

    probability: float = Field(0.0, ge=0, le=1, description="of each transform for each picture; 0 switches all off")
    x_flip: bool = True
    y_flip: bool = True
    scaling: bool = True
    rotation: bool = True
    anisotropy: bool = True
    translation: bool = True

    @property
    def on(self) -> bool:
        """Whether anything is done at all."""
        return self.probability > 0 and any(
            (self.x_flip, self.y_flip, self.scaling, self.rotation, self.anisotropy, self.translation)
        )

    def draw(self, rows: int, generator: Generator) -> Parameters:
        """Parameters of a whole batch, on the generator's device.

        The same numbers are drawn whatever is switched on: one transform less changes nothing of the others.
        """
        device = generator.device
        uniform = torch.rand((9, rows), generator=generator, device=device)
        normal = torch.randn((4, rows), generator=generator, device=device)

        def off_unless(on: bool, place: int, value: Tensor, probability: float = self.probability) -> Tensor:
            chosen = uniform[place] < (probability if on else 0)
            return torch.where(chosen, value, 0)

        heads = (uniform[5] < 0.5).float()
        angle, axis = (math.pi * (2 * uniform[place] - 1) for place in (6, 7))
        return Parameters(
            x_flip=off_unless(self.x_flip and self.on, 0, torch.ones_like(heads), probability=0.5),
            y_flip=off_unless(self.y_flip, 1, heads),
            scaling=off_unless(self.scaling, 2, normal[0]),
            rotation=off_unless(self.rotation, 3, angle),
            axis=off_unless(self.anisotropy, 4, axis),
            anisotropy=off_unless(self.anisotropy, 4, normal[1]),
            x_shift=off_unless(self.translation, 8, normal[2]),
            y_shift=off_unless(self.translation, 8, normal[3]),
        )


def apply(x0: Tensor, parameters: Parameters) -> tuple[Tensor, Tensor]:
    """Transform pictures: flips, then scaling, rotation, anisotropy and translation about the middle, in this order.

    One bilinear sampling, what lies outside reflected at the edges. Rows of which nothing is asked, or only flips, are
    exact to the bit.

    Args:
        x0: [B, C, H, W].
        parameters: of these rows.

    Returns:
        The pictures [B, C, H, W] and the labels [B, 9].
    """
    a = parameters
    flipped = torch.where(_per_row(a.x_flip) > 0, x0.flip(3), x0)
    flipped = torch.where(_per_row(a.y_flip) > 0, flipped.flip(2), flipped)
    labels = a.labels.to(x0.dtype)
    moved = (labels[:, 2:] != 0).any(dim=1)
    height, width = x0.shape[2:]
    grid = _sources(a, height, width).to(x0.dtype)
    sampled = grid_sample(flipped, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    return torch.where(_per_row(moved), sampled, flipped), labels


def _sources(a: Parameters, height: int, width: int) -> Tensor:
    """Where each pixel of the result comes from, as grid_sample has it: [B, H, W, 2] in (x, y) from -1 to 1."""
    # The inverse of translate . stretch . rotate . scale, in pixels from the middle, x to the right and y down.
    linear = _scale(SCALE**-a.scaling, SCALE**-a.scaling)
    stretch = _scale(SCALE**-a.anisotropy, SCALE**a.anisotropy)
    for factor in (_rotate(-a.rotation), _rotate(a.axis), stretch, _rotate(-a.axis)):
        linear = _product(linear, factor)
    device = linear.device
    y = torch.arange(height, device=device) - (height - 1) / 2
    x = torch.arange(width, device=device) - (width - 1) / 2
    size = torch.tensor([width, height], device=device)
    pixels = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)
    shift = torch.stack([a.x_shift, a.y_shift], dim=1) * SHIFT * size
    back = pixels - shift[:, None, None]
    sources = (linear[:, None, None] * back[..., None, :]).sum(-1)
    return 2 * sources / size


def _product(left: Tensor, right: Tensor) -> Tensor:
    """left @ right of [B, 2, 2]; not by matmul, which TF32 and autocast make coarse, and a batch's size otherwise."""
    return (left[:, :, :, None] * right[:, None]).sum(2)


def _rotate(angle: Tensor) -> Tensor:
    """Matrices [B, 2, 2] that turn by angles [B]: clockwise as one sees it, since y points down."""
    cos, sin = angle.cos(), angle.sin()
    return torch.stack([cos, -sin, sin, cos], dim=1).reshape(-1, 2, 2)


def _scale(x: Tensor, y: Tensor) -> Tensor:
    """Matrices [B, 2, 2] that multiply by x [B] and y [B]."""
    return torch.diag_embed(torch.stack([x, y], dim=1))


def _per_row(value: Tensor) -> Tensor:
    return value[:, None, None, None]

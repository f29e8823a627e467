"""Convolutions of published networks, with the batch normalisation behind each folded into its weights."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

State = Mapping[str, Tensor]


class Folded(nn.Module):
    """A convolution and the batch normalisation behind it, in evaluation mode, as one convolution with a bias.

    Args:
        state: the published weights by name.
        convolution: name of the convolution, whose `.weight` is [outputs, inputs / groups, H, W].
        norm: name of the normalisation, of eps 0.001.
        stride: of both sides.
        padding: `valid`: none. `same`: TensorFlow's, which gives ceil(side / stride) and pads more at the end.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, state: State, convolution: str, norm: str, stride: int = 1, padding: str = "same") -> None:
        super().__init__()
        weight = state[f"{convolution}.weight"].double()
        scale, shift, mean, variance = (
            state[f"{norm}.{name}"].double() for name in ("weight", "bias", "running_mean", "running_var")
        )
        gain = scale / torch.sqrt(variance + 1e-3)
        folded = (weight * gain[:, None, None, None]).float()
        self.register_buffer("weight", folded.contiguous(memory_format=torch.channels_last))
        self.register_buffer("bias", (shift - mean * gain).float())
        self.stride, self.padding = stride, padding

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, H, W] -> [B, outputs, H', W']."""
        outputs, inputs = self.weight.shape[:2]
        if self.padding == "same":
            x = F.pad(x, [*self._pads(x.shape[3], 3), *self._pads(x.shape[2], 2)])
        groups = x.shape[1] // inputs
        assert outputs % groups == 0
        return F.conv2d(x, self.weight, self.bias, self.stride, groups=groups)

    def _pads(self, side: int, axis: int) -> tuple[int, int]:
        whole = max(0, (-(-side // self.stride) - 1) * self.stride + self.weight.shape[axis] - side)
        return whole // 2, whole - whole // 2


def read_checked(file: Path, sha256: str, what: str) -> dict[str, Tensor]:
    """The tensors of a .pth file with this SHA-256, read with `weights_only`: no code in it runs.

    Raises FileNotFoundError, and ValueError, which says what the file should be, for another one.
    """
    data = file.read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise ValueError(f"{file} is not {what}: its SHA-256 is {found}, that of the right file {sha256}")
    state: dict[str, Tensor] = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    return state

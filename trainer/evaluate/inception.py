"""The Inception network of FID, up to its last pooling: 2,048 features of a picture.

Inception v3 (Szegedy et al., arXiv 1512.00567) in the form of TensorFlow's frozen graph of 2015-12-05, by which the FID
is defined (Heusel et al., arXiv 1706.08500): average pools count no padding, and the last block pools by maximum. The
weights are those that torch-fidelity and pytorch-fid converted from that graph; they are not here and are never
downloaded. FID is a Fréchet distance of these features and of no others.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.evaluate.folded import Folded, State, read_checked

SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"

WEIGHTS = "weights-inception-2015-12-05-6726825d.pth of torch-fidelity's release v0.2.0 (pytorch-fid has the same file)"

SIDE = 299


class Pool(nn.Module):
    """A pool over 3x3: the average of what is there, or the maximum."""

    def __init__(self, kind: str, stride: int = 1) -> None:
        super().__init__()
        self.kind, self.stride = kind, stride

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> the same with stride 1, no padding with stride 2."""
        padding = 1 if self.stride == 1 else 0
        if self.kind == "average":
            return F.avg_pool2d(x, 3, self.stride, padding, count_include_pad=False)
        return F.max_pool2d(x, 3, self.stride, padding)


class Rectified(nn.Module):
    """A folded convolution, rectified."""

    def __init__(self, state: State, name: str, stride: int = 1, padding: str = "same") -> None:
        super().__init__()
        self.convolution = Folded(state, f"{name}.conv", f"{name}.bn", stride, padding)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C', H', W']."""
        return F.relu(self.convolution(x))


class Beside(nn.Module):
    """Several modules of one input; their channels one after the other."""

    def __init__(self, parts: Sequence[nn.Module]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, sum of the parts' channels, H', W']."""
        return torch.cat([part(x) for part in self.parts], dim=1)


class Inception(nn.Module):
    """The network; `state` are the published weights by name."""

    def __init__(self, state: State) -> None:
        super().__init__()

        def one(name: str, stride: int = 1, padding: str = "same") -> Rectified:
            return Rectified(state, name, stride, padding)

        def chain(block: str, *names: str, stride: int = 1) -> nn.Sequential:
            """Convolutions of a branch; `stride` (with no padding) is the last one's."""
            *before, last = (f"{block}.{name}" for name in names)
            end = one(last) if stride == 1 else one(last, stride, "valid")
            return nn.Sequential(*map(one, before), end)

        def numbered(name: str, count: int) -> list[str]:
            return [f"{name}_{i}" for i in range(1, count + 1)]

        def pooled(block: str, kind: str = "average") -> nn.Sequential:
            return nn.Sequential(Pool(kind), one(f"{block}.branch_pool"))

        def split(block: str, *names: str) -> nn.Sequential:
            """A chain whose end is two convolutions side by side: 1x3 and 3x1."""
            ends = [one(f"{block}.{names[-1]}{end}") for end in "ab"]
            return nn.Sequential(*(one(f"{block}.{name}") for name in names[:-1]), Beside(ends))

        def wide(block: str) -> Beside:
            fives, threes = numbered("branch5x5", 2), numbered("branch3x3dbl", 3)
            return Beside([chain(block, "branch1x1"), chain(block, *fives), chain(block, *threes), pooled(block)])

        def long(block: str) -> Beside:
            sevens, more = numbered("branch7x7", 3), numbered("branch7x7dbl", 5)
            return Beside([chain(block, "branch1x1"), chain(block, *sevens), chain(block, *more), pooled(block)])

        def last(block: str, pool: str) -> Beside:
            threes, more = numbered("branch3x3", 2), numbered("branch3x3dbl", 3)
            return Beside([chain(block, "branch1x1"), split(block, *threes), split(block, *more), pooled(block, pool)])

        self.layers = nn.Sequential(
            one("Conv2d_1a_3x3", 2, "valid"),
            one("Conv2d_2a_3x3", 1, "valid"),
            one("Conv2d_2b_3x3"),
            Pool("maximum", 2),
            one("Conv2d_3b_1x1"),
            one("Conv2d_4a_3x3", 1, "valid"),
            Pool("maximum", 2),
            *map(wide, ("Mixed_5b", "Mixed_5c", "Mixed_5d")),
            Beside(
                [
                    chain("Mixed_6a", "branch3x3", stride=2),
                    chain("Mixed_6a", *numbered("branch3x3dbl", 3), stride=2),
                    Pool("maximum", 2),
                ]
            ),
            *map(long, ("Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e")),
            Beside(
                [
                    chain("Mixed_7a", *numbered("branch3x3", 2), stride=2),
                    chain("Mixed_7a", *numbered("branch7x7x3", 4), stride=2),
                    Pool("maximum", 2),
                ]
            ),
            last("Mixed_7b", "average"),
            last("Mixed_7c", "maximum"),
        )

    def forward(self, images: Tensor) -> Tensor:
        """uint8 [B, 3, H, W] of any size -> float32 [B, 2048]: resized as TensorFlow 1 does, then (x - 128) / 128."""
        x = images.float()
        rows, columns = (resizing(side, SIDE).to(x.device) for side in x.shape[2:])
        x = (rows @ x @ columns.T - 128) / 128
        features: Tensor = self.layers(x).mean((2, 3))
        return features


def resizing(old: int, new: int) -> Tensor:
    """[new, old]: the matrix that resizes an axis linearly as TensorFlow 1's `resize_bilinear` does.

    Pixel i of the result is at i * old / new of the source, without the half pixel that other libraries add, and never
    antialiased.
    """
    place = torch.arange(new, dtype=torch.float32) * torch.tensor(old / new, dtype=torch.float32)
    low = place.long()
    high = (low + 1).clamp_max(old - 1)
    share = place - low
    matrix = torch.zeros(new, old)
    matrix[torch.arange(new), low] += 1 - share
    matrix[torch.arange(new), high] += share
    return matrix


def load_inception(file: Path) -> Inception:
    """The network with the weights in `file`. Raises FileNotFoundError, and ValueError for another file."""
    return Inception(read_checked(file, SHA256, f"the Inception of FID ({WEIGHTS})")).eval()

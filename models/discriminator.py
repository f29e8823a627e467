"""Small networks that tell data from samples, for the adversarial phase of a training; no part of a flow map."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

SLOPE = 0.2
"""Of the leaky ReLUs below 0."""

SMALLEST = 4
"""Side to which pictures are halved."""


class Discriminator(nn.Module):
    """A score of each sample on its own, higher for data: features h, and b + <a + e(label), h>.

    The inner product with the label's embedding is the projection of Miyato and Koyama (arXiv 1802.05637). Nothing
    normalises over a batch, so a row's score does not depend on the others; at initialisation all scores are 0.

    Args:
        shape: of a sample: (D,), for which the features are a perceptron's, or (C, H, W), a convolutional network's
            that halves the sides, and doubles the channels up to eight times the width.
        labels: number of classes; label index `labels` is the null label.
        width: of the perceptron's layers, or channels at the full resolution.
    """

    def __init__(self, shape: tuple[int, ...], labels: int, width: int = 64) -> None:
        super().__init__()
        self.features, features = _perceptron(shape[0], width) if len(shape) == 1 else _convolutions(shape, width)
        self.score = nn.Linear(features, 1)
        self.label = nn.Embedding(labels + 1, features)
        for weight in (self.score.weight, self.score.bias, self.label.weight):
            nn.init.zeros_(weight)

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        """x [B, ...], label int64 [B] -> scores [B]."""
        features = self.features(x)
        scores: Tensor = self.score(features)[:, 0] + (self.label(label) * features).mean(1)
        return scores


class Block(nn.Module):
    """A residual pair of convolutions, then half the side: [B, C, H, W] -> [B, C', H/2, W/2]."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, inputs, 3, padding=1)
        self.second = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.skip = nn.Conv2d(inputs, outputs, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Shapes as above."""
        inner = self.second(F.leaky_relu(self.first(F.leaky_relu(x, SLOPE)), SLOPE))
        halved: Tensor = F.avg_pool2d(inner + self.skip(x), 2, ceil_mode=True)
        return halved


def _perceptron(inputs: int, width: int) -> tuple[nn.Sequential, int]:
    layers: list[nn.Module] = []
    for size in (inputs, width, width):
        layers += [nn.Linear(size, width), nn.LeakyReLU(SLOPE)]
    return nn.Sequential(*layers), width


def _convolutions(shape: tuple[int, ...], width: int) -> tuple[nn.Sequential, int]:
    channels, side = shape[0], max(shape[1:])
    layers: list[nn.Module] = [nn.Conv2d(channels, width, 3, padding=1)]
    here = width
    while side > SMALLEST:
        there = min(2 * here, 8 * width)
        layers.append(Block(here, there))
        here, side = there, -(-side // 2)
    layers += [nn.LeakyReLU(SLOPE), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers), here

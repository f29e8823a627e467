"""A small classifier of features: does a sample show the class that was asked for?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

FITTED = 50_000
"""Training pictures that it is fitted to, at most: drawn at random with a fixed seed."""

DECAY = 1e-4
"""Weight of the squared weights in the loss."""


@dataclass(frozen=True, eq=False)
class Classifier:
    """A linear map of standardised features."""

    weight: NDArray[np.float32]
    """[K, D]"""
    bias: NDArray[np.float32]
    """[K]"""

    def __call__(self, features: NDArray[np.float32]) -> NDArray[np.int64]:
        """The most likely class of each row: [N, D] -> [N]."""
        return np.argmax(features @ self.weight.T + self.bias, axis=1)


def fit(features: NDArray[np.float32], labels: NDArray[np.int64], classes: int) -> Classifier:
    """Multinomial logistic regression with a little weight decay, by L-BFGS from zero: the same every time.

    Args:
        features: [N, D] of training pictures.
        labels: [N] integers from 0 to `classes` - 1.
        classes: K.
    """
    if len(features) > FITTED:
        rows = np.sort(np.random.default_rng(0).permutation(len(features))[:FITTED])
        features, labels = features[rows], labels[rows]
    mean, deviation = features.mean(0), features.std(0) + 1e-6
    x = torch.from_numpy((features - mean) / deviation)
    y = torch.from_numpy(np.asarray(labels, np.int64))
    weight = torch.zeros(classes, x.shape[1], requires_grad=True)
    bias = torch.zeros(classes, requires_grad=True)
    optimiser = torch.optim.LBFGS([weight, bias], max_iter=60, history_size=10, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        value = F.cross_entropy(x @ weight.T + bias, y) + DECAY * weight.square().sum()
        value.backward()
        return value

    optimiser.step(loss)
    scaled = weight.detach().numpy() / deviation
    return Classifier(scaled, bias.detach().numpy() - scaled @ mean)

"""Extractors: what makes features of pictures, known by the hash of its weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from trainer.evaluate import efficientnet, inception

BATCHES = {"cpu": 16}
"""Pictures at a time by the type of the device: on a CPU few, whose activations stay near it."""


@dataclass(frozen=True, eq=False)
class Extractor:
    """A network and what to call the figures of its features."""

    network: nn.Module
    device: torch.device
    title: str
    sha256: str
    resizing: str
    """How a picture comes to the network's size."""

    @property
    def identity(self) -> dict[str, Any]:
        """All that features of a picture depend on."""
        return {"network": self.title, "sha256": self.sha256, "resizing": self.resizing}

    def __call__(self, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Features float32 [N, D] of pictures uint8 [N, H, W, C]; grey (C = 1) is replicated to three channels."""
        shown = np.broadcast_to(pictures, (*pictures.shape[:3], 3)).transpose(0, 3, 1, 2)
        found, size = [], BATCHES.get(self.device.type, 128)
        # TensorFloat-32 would give other features on a GPU than on a CPU.
        with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            for start in range(0, len(shown), size):
                batch = torch.from_numpy(np.array(shown[start : start + size], order="C"))
                found.append(self.network(batch.to(self.device)).float().cpu().numpy())
        return np.concatenate(found)


def open_enetlite0(height: int, width: int, device: torch.device) -> Extractor:
    """EfficientNet-Lite0, for pictures of this size. Raises as `load_efficientnet` does."""
    side = efficientnet.input_side(height, width)
    how = f"bilinear to {side}x{side}, antialiased where that is smaller"
    network = efficientnet.load_efficientnet().to(device)
    return Extractor(network, device, "EfficientNet-Lite0 (ImageNet)", efficientnet.SHA256, how)


def open_inception(weights: Path, device: torch.device) -> Extractor:
    """The Inception of FID with the weights in a file. Raises as `load_inception` does."""
    network = inception.load_inception(weights).to(device)
    how = f"to {inception.SIDE}x{inception.SIDE} as TensorFlow 1 resizes"
    return Extractor(network, device, "Inception v3 (2015-12-05)", inception.SHA256, how)

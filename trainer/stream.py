"""Training batches as a pure function of the step, from a data set that fits on the device."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from trainer.data.dataset import Dataset
from trainer.objectives.target import Batch


class Stream:
    """Shuffled epochs without replacement over a data set held on the device.

    Which samples a step sees depends only on (seed, step), so a resumed run sees what an uninterrupted one would.
    """

    def __init__(self, dataset: Dataset, batch: int, seed: int, device: torch.device) -> None:
        count = len(dataset.train.x)
        if count < batch:
            raise ValueError(f"data set {dataset.name} has {count} training samples, fewer than a batch of {batch}")
        self.batch, self.seed, self.count = batch, seed, count
        self.null_label = len(dataset.classes)
        self.x = torch.from_numpy(dataset.train.x).to(device)
        labels = dataset.train.labels
        self.label = (
            torch.from_numpy(labels).to(device)
            if labels is not None and dataset.classes
            else torch.full((count,), self.null_label, device=device)
        )
        self._epoch = -1
        self._order = torch.empty(0, dtype=torch.long)

    def rows(self, step: int) -> Tensor:
        """Indices [batch] of step `step`, counted from 1; the last partial batch of an epoch is left out."""
        per_epoch = self.count // self.batch
        epoch, place = divmod(step - 1, per_epoch)
        if epoch != self._epoch:
            generator = Generator().manual_seed(self.seed * 1_000_003 + epoch)
            self._order, self._epoch = torch.randperm(self.count, generator=generator), epoch
        return self._order[place * self.batch : (place + 1) * self.batch].to(self.x.device)

    def draw(self, step: int, label_dropout: float, generator: Generator) -> Batch:
        """The pairs of step `step`; noise and dropped labels come from `generator`."""
        rows = self.rows(step)
        x0 = as_z(self.x[rows])
        label = self.label[rows]
        dropped = torch.rand(self.batch, generator=generator, device=x0.device) < label_dropout
        x1 = torch.randn(x0.shape, generator=generator, device=x0.device)
        return Batch(x0, x1, torch.where(dropped, self.null_label, label), dropped)


def as_z(x: Tensor) -> Tensor:
    """Stored samples as the network sees them: uint8 NHWC to float32 NCHW in [-1, 1]; points [B, D] unchanged."""
    if x.dtype == torch.uint8:
        return x.permute(0, 3, 1, 2).float() / 127.5 - 1
    return x.float()


def z_shape(dataset: Dataset) -> tuple[int, ...]:
    """Shape of one sample as the network sees it: (C, H, W) or (D,)."""
    shape = dataset.shape
    return (shape[2], shape[0], shape[1]) if dataset.kind == "image" else shape

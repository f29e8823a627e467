"""Which samples each step sees: a pure function of (seed, step), so that a resumed run sees what it would have seen."""

from __future__ import annotations

import threading

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor


class Order:
    """Epochs of `count // batch` steps over `count` samples; the last partial batch of an epoch is left out.

    Without `labels`: each epoch is a new permutation, so a sample is seen at most once in it.

    With `labels` (int64 [N]) the K classes have equal shares of each epoch, to within one draw. Draw g of the run,
    counted over all epochs, is of class g mod K, and a class goes through its own samples in permutation after
    permutation: where it has few they repeat, but each only after all others of its class; where it has many they go
    on in the next epoch. The draws of an epoch are then shuffled among themselves.

    Safe to ask from several threads.
    """

    def __init__(self, count: int, batch: int, seed: int, labels: NDArray[np.int64] | None = None) -> None:
        self.count, self.batch, self.seed = count, batch, seed
        self.per_epoch = count // batch
        self.members: list[NDArray[np.int64]] = []
        if labels is not None:
            sizes = np.bincount(labels)
            self.members = np.split(np.argsort(labels, kind="stable"), np.cumsum(sizes)[:-1])
        self._lock = threading.Lock()
        self._epochs: dict[int, Tensor] = {}

    def rows(self, step: int) -> Tensor:
        """Indices int64 [batch] of step `step`, counted from 1, on the CPU."""
        epoch, place = divmod(step - 1, self.per_epoch)
        with self._lock:
            if epoch not in self._epochs:
                # Two are kept, because a prefetching thread is in the next epoch while this one ends.
                self._epochs = {kept: order for kept, order in self._epochs.items() if kept == epoch - 1}
                self._epochs[epoch] = self._epoch(epoch)
            return self._epochs[epoch][place * self.batch : (place + 1) * self.batch]

    def _epoch(self, epoch: int) -> Tensor:
        generator = Generator().manual_seed(self.seed * 1_000_003 + epoch)
        if not self.members:
            return torch.randperm(self.count, generator=generator)
        draws, classes = self.per_epoch * self.batch, len(self.members)
        first, last = epoch * draws, (epoch + 1) * draws
        of_class = [
            self._class_draws(label, -(-(first - label) // classes), -(-(last - label) // classes))
            for label in range(classes)
        ]
        return torch.from_numpy(np.concatenate(of_class))[torch.randperm(draws, generator=generator)]

    def _class_draws(self, label: int, first: int, last: int) -> NDArray[np.int64]:
        """Draws number first..last - 1 of a class over the whole run."""
        members = self.members[label]
        size = len(members)
        rounds = range(first // size, -(-last // size))
        orders = [np.random.default_rng((self.seed, label, number)).permutation(members) for number in rounds]
        if not orders:
            return members[:0]
        return np.concatenate(orders)[first - rounds.start * size : last - rounds.start * size]

"""Training samples as a pure function of the step, from the device's memory or from the host's ahead of time."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainer.data.dataset import Dataset
from trainer.data.order import Order
from trainer.shard import Shard

Placement = Literal["auto", "device", "host"]

AHEAD = 4
"""Steps that a stream from the host prepares in advance."""


class Stream:
    """The samples of a run: which they are depends only on (seed, step), see `Order`; where they are kept, on nothing.

    Args:
        batch: samples of a step, over all processes.
        rows: those of the training split that there are, in order; None: all. The others are never seen.
        balance: give every class the same share of each epoch.
        placement: `device`, the whole set is in the device's memory as it is stored (pictures uint8); `host`, it stays
            in the host's (or on disk, memory-mapped) and threads gather the next steps' rows while the device works;
            `auto`, on the device where it fits into half of the memory that is free there.

    Raises:
        ValueError: fewer samples than a batch; classes to be balanced, but there are none.
    """

    def __init__(
        self,
        dataset: Dataset,
        batch: int,
        seed: int,
        device: torch.device,
        *,
        rows: NDArray[np.int64] | None = None,
        balance: bool = False,
        placement: Placement = "auto",
    ) -> None:
        count, labels = len(dataset.train.x if rows is None else rows), dataset.train.labels
        if count < batch:
            raise ValueError(
                f"data set {dataset.name} has {count} training samples, fewer than a batch of {batch}; "
                f"--set run.batch={count} or less"
            )
        if not dataset.classes:
            labels = None
        if balance and labels is None:
            raise ValueError(f"data set {dataset.name} has no labels, so its classes cannot be balanced")
        self.batch, self.seed, self.count, self.device = batch, seed, count, device
        self.null_label = len(dataset.classes)
        balanced = labels if balance else None
        self.order = Order(count, batch, seed, balanced if balanced is None or rows is None else balanced[rows])
        self._trained = None if rows is None else torch.from_numpy(rows)
        self.placement: Literal["device", "host"] = (
            placement if placement != "auto" else "device" if _fits(dataset.train.x.nbytes, device) else "host"
        )
        self.x = torch.from_numpy(dataset.train.x)
        self.label = torch.from_numpy(labels) if labels is not None else torch.full((len(self.x),), self.null_label)
        self._prefetch = Prefetch(self.x, self.label, self.rows, device) if self.placement == "host" else None
        if self.placement == "device":
            self.x, self.label = self.x.to(device), self.label.to(device)

    def rows(self, step: int) -> Tensor:
        """Indices int64 [batch] of step `step`, counted from 1, on the CPU."""
        rows = self.order.rows(step)
        return rows if self._trained is None else self._trained[rows]

    def fetch(self, step: int, shard: Shard) -> tuple[Tensor, Tensor]:
        """The shard's samples of a step, as the network sees them (`as_z`), and their labels, int64; on the device."""
        if self._prefetch is not None:
            x, label = self._prefetch(step, shard)
            return as_z(x.to(self.device, non_blocking=True)), label.to(self.device, non_blocking=True)
        rows = shard.rows(self.rows(step)).to(self.device)
        return as_z(self.x[rows]), self.label[rows]


class Prefetch:
    """Gathers rows on threads, `AHEAD` steps in advance.

    Asking for a shard's rows of a step starts the gathering of the same shard's next steps, whichever shards those are;
    so the first request after a start, a resume or a jump waits, and the others find theirs ready.
    """

    def __init__(self, x: Tensor, label: Tensor, rows: Callable[[int], Tensor], device: torch.device) -> None:
        self.x, self.label, self.rows = x, label, rows
        self.pinned = device.type == "cuda"  # only from pinned memory does a copy run beside the computation
        # On a thread the current device is 0 at first, where pinning would take memory beside another process's.
        start: Callable[[], None] | None = None
        if self.pinned:
            start = partial(torch.cuda.set_device, torch.empty(0, device=device).device)  # with its number
        self.threads = ThreadPoolExecutor(AHEAD, "prefetch", start)
        self.waiting: dict[tuple[int, Shard], Future[tuple[Tensor, Tensor]]] = {}

    def __call__(self, step: int, shard: Shard) -> tuple[Tensor, Tensor]:
        """x [b, ...] as stored and labels int64 [b] in the host's memory. Raises OSError and what reading raises."""
        for key in [key for key in self.waiting if not step <= key[0] <= step + AHEAD]:
            self.waiting.pop(key).cancel()
        for ahead in range(step, step + AHEAD + 1):
            if (ahead, shard) not in self.waiting:
                self.waiting[ahead, shard] = self.threads.submit(self.gather, ahead, shard)
        return self.waiting.pop((step, shard)).result()

    def gather(self, step: int, shard: Shard) -> tuple[Tensor, Tensor]:
        """Copy the rows together. Runs on a thread; numpy lets go of the interpreter while it copies."""
        rows = shard.rows(self.rows(step))
        x = torch.empty((len(rows), *self.x.shape[1:]), dtype=self.x.dtype, pin_memory=self.pinned)
        label = torch.empty(len(rows), dtype=torch.int64, pin_memory=self.pinned)
        # With mode="raise" numpy gathers into a buffer of its own first; the rows are in range.
        np.take(self.x.numpy(), rows.numpy(), axis=0, out=x.numpy(), mode="clip")
        np.take(self.label.numpy(), rows.numpy(), out=label.numpy(), mode="clip")
        return x, label


def _fits(size: int, device: torch.device) -> bool:
    """Whether a set of `size` bytes is kept on the device: on CUDA within half of what is free there."""
    return device.type != "cuda" or size <= torch.cuda.mem_get_info(device)[0] // 2


def as_z(x: Tensor) -> Tensor:
    """Stored samples as the network sees them, float32.

    Pictures, uint8 [B, H, W, C], become [B, C, H, W] in [-1, 1]; points [B, D] and latents [B, C, H, W] keep their
    shape and scale.
    """
    if x.dtype == torch.uint8:
        return x.permute(0, 3, 1, 2).float().div_(127.5).sub_(1)
    return x.float()


def z_shape(dataset: Dataset) -> tuple[int, ...]:
    """Shape of one sample as the network sees it: (C, H, W) or (D,)."""
    shape = dataset.shape
    return (shape[2], shape[0], shape[1]) if dataset.train.key == "images" else shape

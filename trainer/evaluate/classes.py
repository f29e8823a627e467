"""Which class each sample is asked for: as real pictures have them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainer.data.arrays import Split
from trainer.data.dataset import Dataset
from trainer.evaluate.generator import Generator


@dataclass(frozen=True, eq=False)
class Classes:
    """The classes of a split's pictures, shuffled; where they end they begin anew."""

    cycle: NDArray[np.int64] | None
    """The data's; None: the model or the data has none, and no sample is asked for one."""
    labels: tuple[int, ...]
    """The model's label for each class of the data."""
    null: int
    """The model's label for none."""

    def of(self, start: int, stop: int) -> NDArray[np.int64] | None:
        """The data's classes of samples from START to STOP."""
        return None if self.cycle is None else self.cycle[np.arange(start, stop) % len(self.cycle)]

    def asked(self, start: int, stop: int) -> list[int]:
        """The model's labels of samples from START to STOP."""
        found = self.of(start, stop)
        return [self.null] * (stop - start) if found is None else [self.labels[one] for one in found]

    @property
    def sha256(self) -> str | None:
        """Of all labels; None: none are asked for."""
        if self.cycle is None:
            return None
        return hashlib.sha256(np.array(self.asked(0, len(self.cycle))).tobytes()).hexdigest()


def classes_as(split: Split, dataset: Dataset, generator: Generator) -> Classes:
    """As a split has them, for a generator that knows the data's classes."""
    null = len(generator.labels)
    if split.labels is None or not generator.labels:
        return Classes(None, (), null)
    cycle = np.asarray(split.labels, np.int64)[np.random.default_rng(0).permutation(len(split.labels))]
    return Classes(cycle, tuple(generator.labels.index(name) for name in dataset.classes), null)

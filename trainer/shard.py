"""Which rows of a batch one process looks at in one piece of its work."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Shard:
    """Rows index, index + count, index + 2 count, ... of every batch.

    Strided, so that what lies together in a batch (MeanFlow's jumps come first) is shared out evenly and keeps its
    order.
    """

    index: int = 0
    count: int = 1

    def rows(self, value: Tensor) -> Tensor:
        """The shard's rows of [B, ...]."""
        return value[self.index :: self.count]

    def count_of(self, first: int) -> int:
        """How many of the first `first` rows of a batch are the shard's."""
        return len(range(self.index, first, self.count))

"""Batch buckets: the few batch sizes that graphs are made for, and which of them some rows run in. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Part(NamedTuple):
    """Some rows, from row `first`, that one evaluation of `bucket` rows takes."""

    first: int
    rows: int
    bucket: int

    @property
    def padding(self) -> int:
        """Rows evaluated for nobody."""
        return self.bucket - self.rows


def buckets(most: int) -> tuple[int, ...]:
    """Powers of two, the middles between them, and `most`: 1, 2, 3, 4, 6, 8, 12 ... up to it.

    At most a third of an evaluation is padding. A tick is at most the knee of what evaluations cost, and the knee moves
    while costs are learnt, so that no bucket of its own is made for it: the next one is near. ValueError below 1.
    """
    if most < 1:
        raise ValueError(f"the largest batch must be at least 1, not {most}")
    powers = [2**power for power in range(most.bit_length())]
    middles = [3 * power // 2 for power in powers[1:]]
    return tuple(sorted({size for size in (*powers, *middles) if size < most} | {most}))


def split(rows: int, sizes: Sequence[int]) -> list[Part]:
    """Rows into parts: full ones of the largest of the rising `sizes`, then the smallest that takes the rest."""
    largest = sizes[-1]
    parts = [Part(first, largest, largest) for first in range(0, rows - largest + 1, largest)]
    rest = rows % largest
    if rest:
        parts.append(Part(rows - rest, rest, next(size for size in sizes if size >= rest)))
    return parts

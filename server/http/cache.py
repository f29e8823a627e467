"""Answers that were given, to be given again: exact, because equal keys are equal bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from typing import Protocol

from server.jobs import Result

OVERHEAD = 1024
"""Bytes that an entry counts beside its blobs: keys, labels and the objects around them."""


class Beyond(Protocol):
    """A cache that several processes share, behind the own one of each."""

    async def find(self, keys: Sequence[Hashable]) -> tuple[Hashable, Result] | None:
        """The first of the keys that it has, and its result; soon, or none."""

    def put(self, key: Hashable, result: Result) -> None:
        """Keep a result, if there is room."""


class ResponseCache:
    """Results by `Plan.key`, the least recently used forgotten first.

    Bounded by `max_bytes`, counted over blobs and OVERHEAD for each; 0 keeps nothing.
    """

    def __init__(self, max_bytes: int, beyond: Beyond | None = None) -> None:
        """What is put here is put into `beyond` too, and what is found there comes here."""
        self.max_bytes = max_bytes
        self.beyond = beyond
        self.bytes = 0
        self.evictions = 0
        """Answers forgotten for want of room, since the start."""
        self.evicted_bytes = 0
        self._kept: OrderedDict[Hashable, Result] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: Hashable) -> Result | None:
        """The result of a key, which is then the last to be forgotten."""
        result = self._kept.get(key)
        if result is not None:
            self._kept.move_to_end(key)
        return result

    def put(self, key: Hashable, result: Result) -> None:
        """Keep a result; one that would take more than a quarter of all room is not worth what it displaces."""
        if self._keep(key, result) and self.beyond is not None:
            self.beyond.put(key, result)

    async def fetch(self, keys: Sequence[Hashable]) -> None:
        """Have the first of the keys that is known anywhere, the best first, so that `get` gives it."""
        if self.beyond is None or keys[0] in self._kept:
            return
        found = await self.beyond.find(keys)
        if found is not None:
            self._keep(*found)

    def _keep(self, key: Hashable, result: Result) -> bool:
        size = _size(result)
        if size * 4 > self.max_bytes:
            return False
        old = self._kept.pop(key, None)
        if old is not None:
            self.bytes -= _size(old)
        self._kept[key] = result
        self.bytes += size
        while self.bytes > self.max_bytes:
            _, forgotten = self._kept.popitem(last=False)
            self.bytes -= _size(forgotten)
            self.evictions += 1
            self.evicted_bytes += _size(forgotten)
        return True


def _size(result: Result) -> int:
    return OVERHEAD + sum(map(len, result.blobs))

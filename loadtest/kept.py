"""Replies that are kept during a run to be looked at after it: what is done meanwhile would delay other requests."""

from __future__ import annotations

import random


class Kept:
    """Bodies, of so many bytes together at most; once these are full, all that came have about the same chance."""

    def __init__(self, most_bytes: int, rng: random.Random) -> None:
        self._most, self._rng = most_bytes, rng
        self._bodies: list[tuple[int, bytes]] = []
        self._bytes = self._seen = 0

    def add(self, about: int, body: bytes) -> None:
        """One more; `about` is a number that comes back with it."""
        self._seen += 1
        if self._bytes + len(body) <= self._most:
            self._bodies.append((about, body))
            self._bytes += len(body)
        elif self._bodies and self._rng.random() * self._seen < len(self._bodies):
            where = self._rng.randrange(len(self._bodies))
            self._bytes += len(body) - len(self._bodies[where][1])
            self._bodies[where] = (about, body)

    def take(self) -> list[tuple[int, bytes]]:
        """All that are kept, in no order; nothing is kept any more."""
        taken, self._bodies = self._bodies, []
        self._bytes = self._seen = 0
        self._rng.shuffle(taken)
        return taken

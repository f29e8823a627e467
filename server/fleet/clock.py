"""One clock for all machines of a fleet: that of Redis.

Deadlines travel in Redis' time. Each process knows how far it is from its own monotonic clock, so what a machine's wall
clock says changes nothing. It asks on every new connection, and as often as it says or looks who is there.
"""

from __future__ import annotations

from collections import deque
from statistics import median

SAMPLES = 9
"""Round trips that the offset is taken from."""

JUMP = 0.25
"""Seconds by which a sample may differ, beyond its own uncertainty, until the earlier ones are taken for void: another
Redis answers now, or this machine was suspended."""


class FleetClock:
    """Redis' time in seconds, by a monotonic clock. Before the first `learn` the two are taken for equal."""

    def __init__(self) -> None:
        self._offsets: deque[float] = deque(maxlen=SAMPLES)
        self._offset = 0.0
        self._trips: deque[float] = deque(maxlen=SAMPLES)

    @property
    def known(self) -> bool:
        """Whether Redis has told its time."""
        return bool(self._offsets)

    @property
    def round_trip(self) -> float:
        """Seconds from a question to Redis' answer, as of late."""
        return median(self._trips) if self._trips else 0.0

    def learn(self, seconds: int, microseconds: int, asked: float, told: float) -> None:
        """Redis told its time in a round trip from `asked` to `told`, of the monotonic clock."""
        offset = seconds + microseconds / 1e6 - (asked + told) / 2
        if self._offsets and abs(offset - self._offset) > JUMP + (told - asked) / 2:
            self._offsets.clear()
        self._offsets.append(offset)
        self._trips.append(told - asked)
        self._offset = median(self._offsets)

    def shared(self, own: float) -> float:
        """A time of this process's monotonic clock in Redis' time."""
        return own + self._offset

    def own(self, shared: float) -> float:
        """A time of Redis in this process's monotonic clock."""
        return shared - self._offset

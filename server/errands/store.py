"""Where errands are kept until somebody runs them, and then until they expire."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from server.errands.errand import End, Errand, Record, Told
from server.http.once import Reply

OVER_PER_OPEN = 10
"""How many that are over are kept at most, for each that may be open."""

OVERHEAD = 1024
"""Bytes that a result counts beside its body."""


@dataclass(frozen=True)
class Bounds:
    """How much is kept."""

    open: int = 1000
    """Errands that are not over, at most."""
    ttl: float = 3600.0
    """Seconds that an errand and its result are kept when it is over."""
    result_bytes: int = 64 * 2**20
    """Of all results; the oldest go first. One that would take more than a quarter of it is none."""

    @property
    def share(self) -> int:
        """Errands of one client that are not over, at most."""
        return max(1, self.open // 2)

    @property
    def largest(self) -> int:
        """Bytes of one result at most."""
        return self.result_bytes // 4 - 8 * OVERHEAD  # beside it are its headers


class Full(Exception):
    """No more errands are taken in now; the message says why."""


class Unreachable(Exception):
    """The store does not answer now; the message says why."""


@dataclass(frozen=True)
class Taken:
    """An errand to be run by who took it."""

    errand: Errand
    age: float
    """Seconds since its creation."""
    attempts: int
    """This one included."""


@dataclass(frozen=True)
class Due:
    """A message to be sent now."""

    record: Record
    tries: int
    """This one included."""


class Store(Protocol):
    """Keeps errands. All methods raise Unreachable."""

    @property
    def bounds(self) -> Bounds: ...

    @property
    def lasting(self) -> bool:
        """Whether errands outlive this process."""

    @property
    def only_here(self) -> int:
        """Errands that are not over and end with this process."""

    @property
    def lease(self) -> float:
        """Seconds without `keep` after which others take an errand."""

    async def add(self, errand: Errand) -> None:
        """Take an errand in. Raises Full."""

    async def get(self, errand_id: str) -> Record | None:
        """An errand as it stands; None: there is none, or not any more."""

    async def result(self, errand_id: str) -> Reply | None:
        """The result of one that is done; None: not any more."""

    async def take(self, most: int) -> Sequence[Taken]:
        """The oldest errands that nobody runs, which are then this process's."""

    async def keep(self, ids: Sequence[str]) -> Sequence[str]:
        """Go on with errands; those that are not this process's any more."""

    async def leave(self, ids: Sequence[str], wait: float = 0.0) -> None:
        """Leave errands to whoever comes after `wait` seconds, as if they had not been taken."""

    async def end(self, errand_id: str, end: End, reply: Reply | None = None, *, mine: bool = True) -> bool:
        """Write down how an errand ended; False if it was over before, or with `mine` is somebody else's now."""

    async def forget(self, errand_id: str) -> None:
        """Keep no more of an errand that is over."""

    async def due(self, most: int) -> Sequence[Due]:
        """Messages that are to be sent now, which are then this process's for a while."""

    async def told(self, errand_id: str, told: Told, again: float = 0.0) -> None:
        """What became of a message; `waiting`: it is due again after so many seconds."""


@dataclass(eq=False)
class _Kept:
    record: Record
    began: float
    """When it came, by the monotonic clock."""
    since: float = 0.0
    """From when it may be taken."""
    until: float = 0.0
    """When it expires."""
    reply: Reply | None = None
    due: float | None = None
    """When its message is to be sent."""
    tries: int = 0


class OwnStore:
    """Errands in this process's memory, which end with it."""

    lasting = False
    lease = 3.0

    def __init__(self, bounds: Bounds, clock: Callable[[], float] = time.monotonic) -> None:
        self.bounds = bounds
        self._clock = clock
        self._open: dict[str, _Kept] = {}
        """By their creation, the oldest first."""
        self._over: OrderedDict[str, _Kept] = OrderedDict()
        """By their end, the oldest first."""
        self.bytes = 0
        """Of results."""

    @property
    def only_here(self) -> int:
        """See Store."""
        return len(self._open)

    async def add(self, errand: Errand) -> None:
        """See Store."""
        if len(self._open) >= self.bounds.open:
            raise full(self.bounds)
        if sum(kept.record.errand.client == errand.client for kept in self._open.values()) >= self.bounds.share:
            raise full(self.bounds, of_one=True)
        self._open[errand.id] = _Kept(Record(errand, "queued", time.time(), 0), self._clock())

    async def get(self, errand_id: str) -> Record | None:
        """See Store."""
        kept = self._find(errand_id)
        if kept is None or kept.record.state != "queued":
            return None if kept is None else kept.record
        queued = (key for key, one in self._open.items() if one.record.state == "queued")
        return replace(kept.record, ahead=next(place for place, key in enumerate(queued) if key == errand_id))

    async def result(self, errand_id: str) -> Reply | None:
        """See Store."""
        kept = self._find(errand_id)
        return kept.reply if kept is not None else None

    async def take(self, most: int) -> Sequence[Taken]:
        """See Store."""
        taken, now = [], self._clock()
        for kept in [one for one in self._open.values() if one.record.state == "queued" and one.since <= now][:most]:
            kept.record = replace(kept.record, state="running", attempts=kept.record.attempts + 1)
            taken.append(Taken(kept.record.errand, self._clock() - kept.began, kept.record.attempts))
        return taken

    async def keep(self, ids: Sequence[str]) -> Sequence[str]:
        """See Store."""
        return [one for one in ids if one not in self._open]

    async def leave(self, ids: Sequence[str], wait: float = 0.0) -> None:
        """See Store."""
        for kept in (self._open[one] for one in ids if one in self._open):
            kept.record = replace(kept.record, state="queued", attempts=kept.record.attempts - 1)
            kept.since = self._clock() + wait

    async def end(self, errand_id: str, end: End, reply: Reply | None = None, *, mine: bool = True) -> bool:
        """See Store."""
        kept = self._open.pop(errand_id, None)
        if kept is None:
            return False
        told: Told | None = "waiting" if kept.record.errand.webhook is not None else None
        kept.record = replace(kept.record, state=end.state, ended=time.time(), end=end, told=told)
        kept.until = self._clock() + self.bounds.ttl
        kept.due = self._clock() if told is not None else None
        kept.reply = reply
        self.bytes += _size(reply)
        self._over[errand_id] = kept
        self._bound()
        return True

    async def forget(self, errand_id: str) -> None:
        """See Store."""
        if errand_id in self._over:
            self._drop(errand_id)

    async def due(self, most: int) -> Sequence[Due]:
        """See Store."""
        now = self._clock()
        found = [kept for kept in self._over.values() if kept.due is not None and kept.due <= now][:most]
        for kept in found:
            kept.due, kept.tries = None, kept.tries + 1
        return [Due(kept.record, kept.tries) for kept in found]

    async def told(self, errand_id: str, told: Told, again: float = 0.0) -> None:
        """See Store."""
        kept = self._over.get(errand_id)
        if kept is not None:
            kept.record = replace(kept.record, told=told)
            kept.due = self._clock() + again if told == "waiting" else None

    def _find(self, errand_id: str) -> _Kept | None:
        while self._over and next(iter(self._over.values())).until <= self._clock():
            self._drop(next(iter(self._over)))
        return self._open.get(errand_id) or self._over.get(errand_id)

    def _bound(self) -> None:
        """Away with the oldest of what is too much."""
        while len(self._over) > OVER_PER_OPEN * self.bounds.open:
            self._drop(next(iter(self._over)))
        for kept in self._over.values():
            if self.bytes <= self.bounds.result_bytes:
                break
            self.bytes -= _size(kept.reply)
            kept.reply = None

    def _drop(self, errand_id: str) -> None:
        self.bytes -= _size(self._over.pop(errand_id).reply)


def full(bounds: Bounds, *, of_one: bool = False) -> Full:
    """There is no room for one more; `of_one`: none of this client."""
    if of_one:
        return Full(f"{bounds.share} jobs of yours are waiting or running already, the most of one client")
    return Full(f"{bounds.open} jobs are waiting or running already, the most that are taken in")


def _size(reply: Reply | None) -> int:
    return 0 if reply is None else OVERHEAD + len(reply.body)

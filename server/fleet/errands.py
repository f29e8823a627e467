"""Errands of a fleet, in its Redis (`server.errands.store.Store`): any API process runs them and answers for them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from redis.exceptions import ResponseError

from server.errands.errand import End, Errand, Record, read, read_end
from server.errands.store import OVER_PER_OPEN, Bounds, Due, Taken, Unreachable, full
from server.fleet.answers import pack_reply, read_reply
from server.fleet.connection import Away, refusal
from server.fleet.keys import Keys
from server.fleet.pipe import Pipe
from server.fleet.scripts import Argument, script
from server.http.faults import MAX_DEADLINE_MS
from server.http.once import Reply

LEASE_SECONDS = 5.0
"""A process that gives no sign of life for so long loses its errands to others."""

SEND_SECONDS = 30.0
"""A message that nothing is heard of for so long is sent again, by whoever comes."""

SPARE_SECONDS = 3600.0
"""How much longer than any errand its keys live."""


LOG = logging.getLogger("longjump")


class SharedStore:
    """See Store. Results go over a connection of their own: they are large."""

    lasting = True
    only_here = 0

    def __init__(
        self, pipe: Pipe, results: Pipe, keys: Keys, owner: str, bounds: Bounds, lease: float = LEASE_SECONDS
    ) -> None:
        """`owner` is this process's name, which no other has."""
        self.bounds = bounds
        self.lease = lease
        self._pipe = pipe
        self._results = results
        self._owner = owner
        self._records, self._open, self._over, self._due = keys.errands
        self._shelf = keys.shelf("results")
        self._life = MAX_DEADLINE_MS + int(1000 * (bounds.ttl + SPARE_SECONDS))

    async def add(self, errand: Errand) -> None:
        """See Store."""
        bounds, keys = self.bounds, (self._records, self._open, self._over, self._due)
        own = (errand.id, errand.client, errand.write(), bounds.open, bounds.share, self._life)
        added = await self._call("errand_add", keys, *own)
        if added != 1:
            raise full(bounds, of_one=added < 0)

    async def get(self, errand_id: str) -> Record | None:
        """See Store."""
        found = await self._call("errand_get", (self._records, self._open, self._over), errand_id)
        return _record(found) if found is not None else None

    async def result(self, errand_id: str) -> Reply | None:
        """See Store."""
        call = self._results.call(*script("shelf_find", self._shelf, 0, errand_id))
        try:
            found = await call
        except (Away, ResponseError) as error:
            raise _unreachable(error) from None
        try:
            return read_reply(found[1]) if found is not None else None
        except ValueError as error:
            raise Unreachable(f"the result cannot be read: {error}; ask a server of a later version") from None

    async def take(self, most: int) -> Sequence[Taken]:
        """See Store."""
        own = (self._owner, int(1000 * self.lease), most)
        found = await self._call("errand_take", (self._records, self._open), *own)
        taken = []
        for errand_id, text, age, attempts in found:
            try:
                taken.append(Taken(read(text), age / 1000, attempts))
            except ValueError as error:  # a later version's, which will take it
                LOG.error("a job cannot be read: %s", error)
                await self.leave([errand_id.decode()], self.lease)
        return taken

    async def keep(self, ids: Sequence[str]) -> Sequence[str]:
        """See Store."""
        own: tuple[Argument, ...] = (self._owner, int(1000 * self.lease), *ids)
        return [lost.decode() for lost in await self._call("errand_keep", (self._records, self._open), *own)]

    async def leave(self, ids: Sequence[str], wait: float = 0.0) -> None:
        """See Store."""
        own: tuple[Argument, ...] = (self._owner, int(1000 * wait), *ids)
        await self._call("errand_leave", (self._records, self._open), *own)

    async def end(self, errand_id: str, end: End, reply: Reply | None = None, *, mine: bool = True) -> bool:
        """See Store."""
        keys = (self._records, self._open, self._over, self._due, *self._shelf)
        bounds = self.bounds
        parcel = b"" if reply is None else pack_reply(reply)
        own: tuple[Argument, ...] = (errand_id, self._owner if mine else "", end.state, end.write(), parcel)
        limits = (int(1000 * bounds.ttl), bounds.result_bytes, OVER_PER_OPEN * bounds.open, self._life)
        pipe = self._results if reply else self._pipe
        return bool(await self._call("errand_end", keys, *own, *limits, pipe=pipe))

    async def forget(self, errand_id: str) -> None:
        """See Store."""
        await self._call("errand_forget", (self._records, self._over, self._due, *self._shelf), errand_id)

    async def due(self, most: int) -> Sequence[Due]:
        """See Store."""
        found = await self._call("errand_due", (self._records, self._due), int(1000 * SEND_SECONDS), most)
        due = []
        for one in found:
            try:
                due.append(Due(_record(one), one[8]))
            except Unreachable as error:  # a later version's, which will send it; the others are for us
                LOG.error("a message cannot be sent: %s", error)
        return due

    async def told(self, errand_id: str, told: str, again: float = 0.0) -> None:
        """See Store."""
        wait = int(1000 * again) if told == "waiting" else -1
        await self._call("errand_told", (self._records, self._due), errand_id, told, wait)

    async def _call(self, name: str, keys: Sequence[str], *arguments: Argument, pipe: Pipe | None = None) -> Any:
        try:
            return await (pipe or self._pipe).call(*script(name, keys, *arguments))
        except (Away, ResponseError) as error:
            raise _unreachable(error) from None


def _unreachable(error: Away | ResponseError) -> Unreachable:
    if isinstance(error, Away):
        return Unreachable(str(error))
    return Unreachable(f"Redis, where jobs are kept, refuses: {refusal(error)}")


def _record(found: list[Any]) -> Record:
    """The record that a script gave."""
    text, created, state, attempts, ended, end, told, ahead, *_ = found
    try:
        errand, over = read(text), read_end(end) if end else None
    except ValueError as error:
        raise Unreachable(f"the job cannot be read: {error}; ask a server of a later version") from None
    return Record(
        errand,
        state.decode(),
        int(created) / 1000,
        int(attempts or 0),
        int(ahead) if state == b"queued" else 0,
        int(ended) / 1000 if ended else None,
        over,
        told.decode() if told else None,
    )

"""Takes work out of one stream, as much as there is room for, for as long as it is wanted."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence

from redis.exceptions import ResponseError

from server.fleet.connection import Away, Channel, Pause, Redis
from server.fleet.hold import Hold
from server.fleet.keys import GROUP
from server.fleet.roster import LIFE_SECONDS
from server.jobs import Priority

BLOCK_SECONDS = 1.0
"""How long one read waits for work; so long may it take until a stopping agent reads no more."""

LOOK_SECONDS = 0.25
"""How often a line without room is looked at, beside whenever something leaves it: its workers come and go."""

MOST = 16
"""Entries that one read takes at most."""

READ_PATIENCE = 10.0
"""Seconds for what is read to come over a slow link."""

CLAIM = 16
"""Entries of other agents that one look takes at most."""

LOG = logging.getLogger("longjump")


class Puller:
    """The work of one class for one line, new (`run`) and left behind by others (`reclaim`)."""

    def __init__(self, redis: Redis, hold: Hold, priority: Priority, agent: str, first: Puller | None = None) -> None:
        """`first`: the puller of work that goes before this one's."""
        self._redis = redis
        self._hold = hold
        self._priority = priority
        self._agent = agent
        self.stream = hold.keys.work(hold.model.fingerprint, priority)
        self._first = first
        self._asked: float | None = None
        """Since when a read waits for work."""
        self._dry = False
        """Whether the last read waited in vain."""
        self._cursor: bytes | str = "0-0"
        self._stopping = False

    def stop(self) -> None:
        """Read no more; `run` returns soon, and loses nothing that was on its way."""
        self._stopping = True

    async def run(self) -> None:
        """Read new entries until `stop`."""
        channel, pause, most = self._redis.channel(), Pause(), MOST
        try:
            while not self._stopping:
                room = self._hold.room(self._priority)
                if room <= 0:
                    await self._hold.change(LOOK_SECONDS)
                    continue
                if self._first is not None and (wait := self._first.hurry()):
                    await asyncio.sleep(wait)
                    most = 1  # its answer may only be late
                    continue
                try:
                    answer = await self._read(channel, min(room, most))
                    if isinstance(answer, ResponseError):
                        await self._meet(channel, answer)
                        await pause.wait()
                        continue
                except Away:
                    most = 1  # the link may be too slow for many at once
                    await pause.wait()
                    continue
                pause.reset()
                self._dry = not answer
                most = min(MOST, 2 * most)
                for entry, fields in answer[0][1] if answer else ():
                    await self._hold.take(self._priority, entry, fields)
        finally:
            await channel.close()

    def hurry(self) -> float:
        """Seconds until it is known that there is no work here: what is there comes within a round trip."""
        if self._dry:
            return 0.0
        settled = min(BLOCK_SECONDS / 2, 0.002 + 1.5 * self._redis.clock.round_trip)
        return settled if self._asked is None else max(0.0, self._asked + settled - time.monotonic())

    async def reclaim(self, channel: Channel, lease: float) -> None:
        """Take entries whose agents gave no sign of life for `lease` seconds. Raises Away."""
        room = self._hold.room(self._priority)
        if room <= 0 or self._stopping:
            return
        claim = ("XAUTOCLAIM", self.stream, GROUP, self._agent, int(1000 * lease), self._cursor)
        (answer,) = await channel.call((*claim, "COUNT", min(room, CLAIM)))
        if isinstance(answer, ResponseError):
            return  # no stream or no group: the reader makes them
        self._cursor, found = answer[0], [one for one in answer[1] if one is not None and one[1] is not None]
        if not found:
            return
        counts = await channel.call(*(("XPENDING", self.stream, GROUP, entry, entry, 1) for entry, _ in found))
        for (entry, fields), count in zip(found, counts, strict=True):
            if isinstance(count, ResponseError) or not count:
                continue  # it ended in this moment
            self._hold.reclaimed += 1
            await self._hold.take(self._priority, entry, fields, deliveries=count[0][3])

    async def _read(self, channel: Channel, count: int) -> Sequence[tuple[bytes, list[tuple[bytes, list[bytes]]]]]:
        block = int(1000 * BLOCK_SECONDS)
        own = ("XREADGROUP", "GROUP", GROUP, self._agent, "COUNT", count, "BLOCK", block, "STREAMS", self.stream, ">")
        self._asked = time.monotonic()
        try:
            (answer,) = await channel.call(own, patience=BLOCK_SECONDS + READ_PATIENCE)
        finally:
            self._asked = None
        found: Sequence[tuple[bytes, list[tuple[bytes, list[bytes]]]]] = answer
        return found

    async def _meet(self, channel: Channel, error: ResponseError) -> None:
        """The stream or its group is not there (any more): make them, so that nothing that is in it is left out."""
        make = ("XGROUP", "CREATE", self.stream, GROUP, "0", "MKSTREAM")
        made, life = await channel.call(make, ("PTTL", self.stream))
        if isinstance(made, ResponseError) and not str(made).startswith("BUSYGROUP"):
            LOG.error("Redis at %s gives no work: %s; %s", self._redis.shown, error, made)
        elif life == -1:  # a new one, whose agent may die before it says again that it is there
            await channel.call(("PEXPIRE", self.stream, int(1000 * LIFE_SECONDS)))

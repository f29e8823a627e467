"""Answers that any API process of a fleet gave, for all of them: behind each process's own cache.

Bounded twice. It never takes more than its budget; and of a Redis with `maxmemory` it takes only what the work leaves,
because one that refuses writes when it is full would refuse the work.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
from collections.abc import Hashable, Sequence
from typing import Any

from redis.exceptions import ResponseError

from server.fleet.codec import result_of, result_told
from server.fleet.connection import Away, Redis
from server.fleet.keys import Keys
from server.fleet.parcel import pack, unpack
from server.fleet.pipe import Pipe
from server.fleet.scripts import script
from server.jobs import Result

LIFE_SECONDS = 3600.0
"""How long an answer is kept that nobody asks for."""

FIND_SECONDS = 0.1
"""How long a look may take; then the answer is made instead."""

WATCH_SECONDS = 5.0
"""Between two looks at Redis' memory."""

MEMORY_SHARE = 0.75
"""Share of `maxmemory` beyond which the cache makes room."""

UNSENT_BYTES = 16 * 2**20
"""Bytes of answers that may be on their way; more are not kept."""

LOG = logging.getLogger("longjump")


class SharedCache:
    """See `server.http.cache.Beyond`."""

    def __init__(self, redis: Redis, keys: Keys, budget: int) -> None:
        """`budget` in bytes."""
        self._redis = redis
        self._shelf = keys.shelf("cache")
        self._budget = budget
        self._allowed = 0
        self._cramped = False
        self._unsent = 0
        # Its own: answers are large, and work must not wait behind them.
        self._pipe = Pipe(redis)

    async def run(self) -> None:
        """Send and make room, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._pipe.run())
            group.create_task(self._watch())

    async def find(self, keys: Sequence[Hashable]) -> tuple[Hashable, Result] | None:
        """The first of the keys that is there; None also if Redis does not tell in time."""
        if self._redis.away:
            return None
        names = [_name(key) for key in keys]
        call = self._pipe.call(*script("shelf_find", self._shelf, int(1000 * LIFE_SECONDS), *names))
        try:
            async with asyncio.timeout(FIND_SECONDS):
                found = await call
            if found is None:
                return None
            return keys[found[0]], result_of(*unpack(found[1]))
        except (Away, ResponseError, TimeoutError, ValueError, KeyError, TypeError):
            return None

    def put(self, key: Hashable, result: Result) -> None:
        """Keep an answer if there is room; nobody waits for that."""
        size = sum(map(len, result.blobs))
        if self._redis.away or 4 * size > self._allowed or self._unsent + size > UNSENT_BYTES:
            return
        life = int(1000 * LIFE_SECONDS)
        own = (_name(key), pack(result_told(result), result.blobs), life, self._allowed)
        self._unsent += size
        self._pipe.call(*script("shelf_put", self._shelf, *own)).add_done_callback(lambda done: self._sent(done, size))

    def _sent(self, done: asyncio.Future[Any], size: int) -> None:
        self._unsent -= size
        if not done.cancelled():
            done.exception()  # seen: an answer that is not kept is made again

    async def _watch(self) -> None:
        while True:
            with contextlib.suppress(Away, ResponseError, KeyError, ValueError):  # not every Redis tells everybody
                await self._make_room()
            await asyncio.sleep(WATCH_SECONDS)

    async def _make_room(self) -> None:
        told = await self._pipe.call("INFO", "memory")
        memory = dict(line.split(b":", 1) for line in told.splitlines() if b":" in line)
        used, most = int(memory[b"used_memory"]), int(memory[b"maxmemory"])
        own = int(await self._pipe.call("HGET", self._shelf[0], "") or 0)
        allowed = self._budget if not most else max(0, min(self._budget, own + int(MEMORY_SHARE * most) - used))
        if allowed < own and not self._cramped:
            LOG.warning("the shared cache makes room: Redis at %s has %d of %d bytes", self._redis.shown, used, most)
        self._allowed, self._cramped = allowed, allowed < own
        if allowed < own:
            await self._pipe.call(*script("shelf_trim", self._shelf, allowed))


def _name(key: Hashable) -> str:
    """The name of a `Plan.key`, the same in every process."""
    return hashlib.blake2b(repr(key).encode(), digest_size=16).hexdigest()

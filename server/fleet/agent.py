"""The agent of a worker machine: joins its local lines to the fleet, keeps what it took alive, and leaves in order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import secrets
import time
from collections.abc import Callable, Coroutine
from typing import Any

from redis.exceptions import ResponseError

from server.backend.line import Line
from server.fleet.codec import VERSION
from server.fleet.connection import PATIENCE, Away, Pause, Redis
from server.fleet.hold import LEFT_MS, Hold
from server.fleet.keys import Keys
from server.fleet.outbox import Outbox
from server.fleet.pipe import Pipe
from server.fleet.pull import Puller
from server.fleet.roster import ANNOUNCE_SECONDS, LIFE_SECONDS, TTL_SECONDS, Announcement, write_model
from server.fleet.scripts import Command, script
from server.jobs import Priority
from server.steady import steady
from server.version import version

CLASSES: tuple[Priority, ...] = ("interactive", "batch")

LEASE_SECONDS = 3.0
"""An agent that gives no sign of life for so long is taken for dead: others run what it had."""

REPLACE_SECONDS = 10.0
"""A line whose worker died keeps what it has for so long, until another worker is warm: here it is known which jobs
were with the one that died, and they run alone. After that others may run them."""

BLOCK_SECONDS = 5.0
"""How long one read waits for cancellations."""

SWEEP_SECONDS = 60.0
FORGET_SECONDS = 600.0
"""How often names of agents that are gone are swept out of the groups, and how long they are left there."""

LINGER_SECONDS = 1.5 * ANNOUNCE_SECONDS
"""How long a leaving agent still takes work after it said that it is not there any more."""

LAST_SECONDS = 5.0
"""How long a leaving agent tries to send its last answers."""

LOG = logging.getLogger("longjump")


class _Joined:
    """A line that is in the fleet."""

    def __init__(self, hold: Hold, pullers: list[Puller]) -> None:
        self.hold = hold
        self.pullers = pullers
        self.reading: list[asyncio.Task[None]] = []
        self.keeping: asyncio.Task[None] | None = None


class Agent:
    """All that one worker process group has to do with Redis."""

    def __init__(self, redis: Redis, keys: Keys, name: str, lease: float = LEASE_SECONDS) -> None:
        self._redis = redis
        self._keys = keys
        self._name = name
        self._lease = lease
        self._pipe = Pipe(redis)
        self._outbox = Outbox(redis)
        self._joined: list[_Joined] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._draining = asyncio.Event()
        self._begin("speaks to Redis", self._pipe.run)
        self._begin("sends answers", self._outbox.run)
        self._begin("obeys cancellations", self._obey)

    @property
    def pipe(self) -> Pipe:
        """What is called of Redis goes this way."""
        return self._pipe

    @property
    def holds(self) -> list[Hold]:
        """One for each line that is in the fleet."""
        return [joined.hold for joined in self._joined]

    @property
    def overtaken(self) -> int:
        """Ends of jobs that had ended already: another agent was first."""
        return self._outbox.overtaken

    @property
    def held(self) -> int:
        """Entries that are here."""
        return sum(len(joined.hold.entries) for joined in self._joined)

    async def join(self, line: Line) -> None:
        """Put a line into the fleet once its workers are warm."""
        await line.ready.wait()
        if self._draining.is_set():
            return
        hold = Hold(line, self._keys, self._redis.clock, self._outbox, self._name)
        pause = Pause()
        while True:
            try:
                await self._announce(hold)
                break
            except (Away, ResponseError):
                await pause.wait()
        if self._draining.is_set():
            return
        first = Puller(self._redis, hold, "interactive", self._name)
        joined = _Joined(hold, [first, Puller(self._redis, hold, "batch", self._name, first)])
        self._joined.append(joined)
        joined.reading = [self._begin("takes work", puller.run) for puller in joined.pullers]
        self._begin("says that it is there", lambda: self._keep_announced(hold))
        joined.keeping = self._begin("keeps what it has", lambda: self._keep_alive(joined))
        LOG.info(f"{hold.model.name} is in the fleet, fingerprint {hold.model.fingerprint}")

    async def drain(self, patience: float) -> int:
        """Take no more work, finish what is here within `patience` seconds, hand the rest to others: how much of it."""
        self._draining.set()
        until = time.monotonic() + patience
        await self._retire()
        # Until every API process has seen that: work may be on its way to streams that nobody else reads.
        await asyncio.sleep(min(patience, LINGER_SECONDS))
        for joined in self._joined:
            for puller in joined.pullers:
                puller.stop()
        reading = [task for joined in self._joined for task in joined.reading]
        if reading:
            await asyncio.wait(reading, timeout=max(0.1, patience))
        while self.held and time.monotonic() < until:
            busy = next(joined.hold for joined in self._joined if joined.hold.entries)
            await busy.change(min(0.25, max(0.0, until - time.monotonic())))
        left = self.held
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._outbox.empty.wait(), LAST_SECONDS)
        with contextlib.suppress(Away, ResponseError, TimeoutError):
            await asyncio.wait_for(self._leave(), LAST_SECONDS)
        return left

    async def close(self) -> None:
        """Give up everything that is still going on."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _begin(self, what: str, work: Callable[[], Coroutine[Any, Any, None]]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(steady(what, work))
        self._tasks.append(task)
        return task

    async def _announce(self, hold: Hold) -> None:
        """Say that a line is here. Raises Away and ResponseError."""
        dispatch, model = hold.line.dispatch, hold.model
        dispatch.hear()
        told = Announcement(
            agent=self._name,
            fingerprint=model.fingerprint,
            name=model.name,
            workers=dispatch.workers,
            costs=dispatch.costs.to_dict(),
            lease=self._lease,
            version=version(),
            reads=VERSION,
        )
        keys = (self._keys.agents, self._keys.until, self._keys.epoch, self._keys.model(model.fingerprint))
        queue = self._keys.queue(model.fingerprint, "interactive")
        ttl, life = int(1000 * TTL_SECONDS), int(1000 * LIFE_SECONDS)
        asked = time.monotonic()
        seconds, micros, _, known = await self._pipe.call(
            *script("announce", (*keys, *queue), told.member, told.write(), ttl, life, secrets.token_hex(8))
        )
        self._redis.clock.learn(int(seconds), int(micros), asked, time.monotonic())
        if not known:
            await self._pipe.call("SET", self._keys.model(model.fingerprint), write_model(model), "PX", life)

    async def _keep_announced(self, hold: Hold) -> None:
        while not self._draining.is_set():
            await asyncio.sleep(ANNOUNCE_SECONDS * random.uniform(0.8, 1.0))
            if hold.line.up and not self._draining.is_set():
                with contextlib.suppress(Away, ResponseError):
                    await self._announce(hold)

    async def _keep_alive(self, joined: _Joined) -> None:
        """While its workers are up, or soon again: renew what is here, and take what others left behind."""
        hold, channel = joined.hold, self._redis.channel()
        swept = up = time.monotonic()
        try:
            while True:
                await asyncio.sleep(self._lease / 3 * random.uniform(0.8, 1.0))
                if hold.line.up:
                    up = time.monotonic()
                elif time.monotonic() - up > REPLACE_SECONDS:
                    continue
                with contextlib.suppress(Away):
                    await self._renew(hold)
                    for puller in joined.pullers:
                        await puller.reclaim(channel, self._lease)
                    if time.monotonic() - swept > SWEEP_SECONDS:
                        swept = time.monotonic()
                        sweep = (script("sweep", [one.stream], int(1000 * FORGET_SECONDS)) for one in joined.pullers)
                        await channel.call(*sweep)
        finally:
            await channel.close()

    async def _renew(self, hold: Hold, idle: int = 0) -> None:
        """Keep what is here; what is not ours any more is dropped. `idle`: see keep.lua. Raises Away."""
        for priority in CLASSES:
            ids = [entry.id for entry in hold.entries.values() if entry.priority == priority]
            if ids:
                work = self._keys.work(hold.model.fingerprint, priority)
                try:
                    lost = await self._pipe.call(*script("keep", [work], self._name, idle, *ids))
                except ResponseError as error:
                    LOG.error("what is here could not be kept: %s", error)
                    continue
                for entry in lost:
                    hold.lose(work, entry)

    async def _obey(self) -> None:
        """Drop what nobody waits for any more, until cancelled."""
        stream = self._keys.control(self._name)
        channel, pause = self._redis.channel(), Pause()
        read = ("XREAD", "COUNT", 1000, "BLOCK", int(1000 * BLOCK_SECONDS), "STREAMS", stream, "0-0")
        taken: list[bytes] = []
        try:
            while True:
                delete: list[Command] = [("XDEL", stream, *taken)] if taken else []
                try:
                    found = (await channel.call(*delete, read, patience=BLOCK_SECONDS + PATIENCE))[-1]
                except Away:
                    await pause.wait()
                    continue
                taken = []
                if isinstance(found, ResponseError):
                    await pause.wait()
                    continue
                pause.reset()
                for number, fields in found[0][1] if found else ():
                    taken.append(number)
                    told = dict(zip(fields[::2], fields[1::2]))
                    for joined in self._joined:
                        joined.hold.cancel(told.get(b"work", b"").decode(), told.get(b"entry", b""))
        finally:
            await channel.close()

    async def _retire(self) -> None:
        """Send nobody here any more."""
        members = [f"{self._name}/{joined.hold.model.fingerprint}" for joined in self._joined]
        if members:
            with contextlib.suppress(Away, ResponseError, TimeoutError):
                await asyncio.wait_for(self._pipe.call("HDEL", self._keys.agents, *members), PATIENCE)
                await asyncio.wait_for(self._pipe.call("ZREM", self._keys.until, *members), PATIENCE)

    async def _leave(self) -> None:
        """Hand back what is still here, and forget this agent's name. Raises Away and ResponseError."""
        for joined in self._joined:
            if joined.keeping is not None:
                joined.keeping.cancel()
                await asyncio.wait({joined.keeping})
            await self._renew(joined.hold, LEFT_MS)
            for puller in joined.pullers:
                await self._pipe.call(*script("sweep", [puller.stream], 0, self._name))
        await self._pipe.call("DEL", self._keys.control(self._name))

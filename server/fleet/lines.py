"""What a fleet serves, as one API process sees it: a line for each engine that agents have announced."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import secrets
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from redis.exceptions import ResponseError

from server.backend.model import Model
from server.fleet.connection import Away, Redis, refusal
from server.fleet.inflight import InFlight
from server.fleet.keys import Keys
from server.fleet.line import FleetLine
from server.fleet.pipe import Pipe
from server.fleet.roster import ANNOUNCE_SECONDS, TTL_SECONDS, Announcement, read, read_model
from server.fleet.scripts import script
from server.fleet.where import where
from server.jobs import Stopped
from server.schedule.admission import Bounds
from server.steady import steady

if TYPE_CHECKING:
    from server.backend.line import Observer

KEPT_SECONDS = 600.0
"""How long the name of an engine without agents is kept, so that its clients hear "no worker now" and not "unknown"."""

LAST_SECONDS = 2.0
"""How long a stopping process has to take back what it asked for."""

LOG = logging.getLogger("longjump")


def own_name() -> str:
    """A name that no other process has, and that tells a person which one it is."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"


async def open_lines(args: argparse.Namespace, bounds: Bounds, observer: Observer) -> FleetLines:
    """The lines of the fleet that the flags of `longjump serve` name. ValueError or OSError if it lets nobody in."""
    api, keys = own_name(), Keys(args.fleet)
    redis = Redis(where(args), f"longjump-api-{api}", LOG.info)
    await redis.check()
    lines = FleetLines(redis, keys, api, bounds, args.deadline / 1000, observer)
    lines.start()
    return lines


class FleetLines:
    """See `server.backend.roads.Roads`. Lives on one event loop."""

    shared = True

    def __init__(self, redis: Redis, keys: Keys, api: str, bounds: Bounds, deadline: float, observer: Observer) -> None:
        self.draining = False
        self.http_seconds = 0.0
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._redis = redis
        self._keys = keys
        self._api = api
        self._bounds = bounds
        self._deadline = deadline
        self._pipe = Pipe(redis)
        self.inflight = InFlight(redis, self._pipe, keys, api, observer.cancelled)
        redis.on_return = self._returned
        self._lines: dict[str, FleetLine] = {}
        self._ready = asyncio.Event()
        self._epoch: bytes | None = None
        self._refused: str | None = None
        """Why Redis does not tell who is there."""
        self._look_now = asyncio.Event()
        self._unreadable: set[str] = set()
        """Engines that are there and that this version cannot read; each is logged once."""
        self._patient = 0.0
        """Until then who does not say that he is there is not taken for gone."""
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def redis(self) -> Redis:
        """The Redis of the fleet."""
        return self._redis

    @property
    def pipe(self) -> Pipe:
        """What is called of Redis goes this way."""
        return self._pipe

    @property
    def keys(self) -> Keys:
        """Its keys."""
        return self._keys

    @property
    def lines(self) -> Sequence[FleetLine]:
        """All engines: by name, and of one name the one to take first."""
        best = sorted(self._lines.values(), key=_by_name)
        return tuple(best)

    @property
    def models(self) -> list[Model]:
        """One for each engine; of several of one name the first is the one whose work begins first."""
        return [line.model for line in self.lines]

    @property
    def complete(self) -> bool:
        """Whether anything was ever announced."""
        return bool(self._lines)

    @property
    def up(self) -> bool:
        """Whether Redis answers and some engine has an agent."""
        return not self._redis.away and any(line.up for line in self._lines.values())

    @property
    def lacking(self) -> str:
        """Why it is not up."""
        if self._redis.away:
            return f"Redis at {self._redis.shown} cannot be reached"
        if self._refused is not None:
            return self._refused
        known = [line.lacking for line in self.lines if line.agents]
        if known:
            return known[0]
        return f"no worker is in the fleet {self._keys.fleet!r}; start one: longjump worker --redis URL BUNDLE"

    def find(self, model: Model) -> FleetLine:
        """The line of exactly this engine. Raises Stopped if it was forgotten."""
        line = self._lines.get(model.fingerprint)
        if line is None:
            raise Stopped(f"no worker serves {model.name} now")
        return line

    async def ready(self) -> None:
        """Wait until the first agent is there."""
        await self._ready.wait()

    async def load(self, folder: Path) -> FleetLine:
        """Workers bring the bundles. Raises Stopped."""
        raise Stopped(f"start a worker with it: longjump worker --redis URL {folder}")

    def start(self) -> None:
        """Begin to look and to listen."""
        for what, work in (
            ("speaks to Redis", self._pipe.run),
            ("reads answers", self.inflight.read),
            ("looks who is there", self._watch),
        ):
            self._tasks.append(asyncio.get_running_loop().create_task(steady(what, work)))

    def close(self, reason: str) -> int:
        """Fail every request that is still waiting; return how many there were."""
        return self.inflight.close(reason)

    async def stop(self, patience: float = LAST_SECONDS) -> None:
        """Take back what nobody waits for any more, and leave nothing of this process in Redis."""
        await self.inflight.settle(LAST_SECONDS)  # hurried or not: else workers would run it for nobody
        with contextlib.suppress(Away, ResponseError, TimeoutError):
            await asyncio.wait_for(self._pipe.call("DEL", self._keys.reply(self._api)), LAST_SECONDS)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _watch(self) -> None:
        """Look who is there, again and again."""
        while True:
            self._look_now.clear()
            try:
                await self._look()
            except (Away, ResponseError) as error:
                self._complain(error)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._look_now.wait(), ANNOUNCE_SECONDS)

    def _complain(self, error: Away | ResponseError) -> None:
        """Say once why nobody knows who is there. That Redis cannot be reached is said where it was found out."""
        if self._redis.away:
            return
        why = str(error)
        if isinstance(error, ResponseError):
            why = f"Redis at {self._redis.shown} refuses to tell who is there: {refusal(error)}"
        if self._refused is None:
            LOG.error(why)
        self._refused = why

    async def _look(self) -> None:
        asked = time.monotonic()
        keys = (self._keys.agents, self._keys.until, self._keys.epoch)
        seconds, micros, epoch, told = await self._pipe.call(*script("look", keys, secrets.token_hex(8)))
        told_at = time.monotonic()
        self._redis.clock.learn(int(seconds), int(micros), asked, told_at)
        if epoch != self._epoch:
            if self._epoch is not None:
                self._returned()
            self._epoch = epoch
        announced: dict[str, list[Announcement]] = {}
        for one in read(told):
            announced.setdefault(one.fingerprint, []).append(one)
        self._unreadable &= announced.keys()
        for fingerprint in announced.keys() - self._lines.keys():
            await self._open(fingerprint)
        for fingerprint, line in tuple(self._lines.items()):
            line.looked = told_at
            if fingerprint in announced or time.monotonic() > self._patient:
                line.announce(announced.get(fingerprint, ()))
            if not line.agents and time.monotonic() - line.seen > KEPT_SECONDS:
                del self._lines[fingerprint]
        await asyncio.gather(*(self._survey(line) for line in self._lines.values() if line.agents))
        self._refused = None
        if self.up:
            self._ready.set()

    def _returned(self) -> None:
        """Redis is there again. It may have forgotten jobs, and agents, who will tell it again that they are there."""
        self._patient = time.monotonic() + TTL_SECONDS
        self._look_now.set()
        self.inflight.search()

    async def _open(self, fingerprint: str) -> None:
        """An engine that was not known: read what it is."""
        text = await self._pipe.call("GET", self._keys.model(fingerprint))
        if text is None:
            return  # its agent will tell
        try:
            model = read_model(text)
        except ValueError as error:
            if fingerprint not in self._unreadable:
                LOG.error("a worker serves what this version cannot read, fingerprint %s: %s", fingerprint, error)
            self._unreadable.add(fingerprint)
            return
        self._lines[fingerprint] = FleetLine(model, self._keys, self.inflight, self._bounds, self._deadline)
        LOG.info(f"workers serve {model.name} {model.manifest.digest[:19]}, fingerprint {model.fingerprint}")

    async def _survey(self, line: FleetLine) -> None:
        queue = self._keys.queue(line.model.fingerprint, "interactive")
        line.survey(*await self._pipe.call(*script("survey", queue)))


def _by_name(line: FleetLine) -> tuple[Any, ...]:
    return line.model.name, not line.up, line.predicted_wait(), line.model.fingerprint

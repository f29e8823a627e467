"""Commands of many, in their order, over one connection: what is called while a round trip runs goes with the next."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from typing import Any

from redis.exceptions import NoScriptError

from server.fleet.connection import Away, Redis
from server.fleet.scripts import LOAD, Command
from server.observe.fleet import ROUND_TRIP_SECONDS
from server.observe.series import Spread

KNOCK_SECONDS = 0.5
"""Between two attempts to reach a Redis that is away, while somebody calls."""

_Call = tuple[Callable[[], Command], "asyncio.Future[Any]"]


class Pipe:
    """Sends commands as they are called, until `run` is cancelled."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._channel = redis.channel()
        self._calls: list[_Call] = []
        self.seconds = Spread(ROUND_TRIP_SECONDS)
        """Of its round trips."""
        self._wake = asyncio.Event()
        self._knocked = 0.0

    def call(self, *command: str | bytes | int | float) -> asyncio.Future[Any]:
        """A future of the answer; Away, or redis-py's ResponseError for what Redis refused.

        After Away it may have been done all the same: once, or twice where the connection broke in the middle.
        """
        return self.call_made(lambda: command)

    def call_made(self, make: Callable[[], Command]) -> asyncio.Future[Any]:
        """As `call`, of a command that tells times: made when it is sent, by the clock of the Redis that gets it."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if self._redis.away and not self._channel.connected:
            future.set_exception(Away(f"Redis at {self._redis.shown} cannot be reached"))
            if time.monotonic() - self._knocked > KNOCK_SECONDS:
                self._wake.set()
        else:
            self._calls.append((make, future))
            self._wake.set()
        return future

    async def run(self) -> None:
        """Send what is called."""
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                calls, self._calls = self._calls, []
                if calls:
                    await self._send(calls)
                else:
                    await self._knock()
        finally:
            for _, future in self._calls:
                future.cancel()
            await self._channel.close()

    async def _knock(self) -> None:
        """See whether Redis is there again; other connections may have survived, and then nobody else looks."""
        with contextlib.suppress(Away):
            await self._channel.call()
        self._knocked = time.monotonic()

    async def _send(self, calls: list[_Call]) -> None:
        start = time.monotonic()
        try:
            commands, answers = await self._twice([make for make, _ in calls])
            if any(isinstance(answer, NoScriptError) for answer in answers):  # somebody flushed the scripts
                await self._channel.call(*LOAD)
                again = [n for n, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
                for n, answer in zip(again, await self._channel.call(*(commands[n] for n in again))):
                    answers[n] = answer
        except Exception as error:
            for _, future in calls:
                if not future.done():
                    future.set_exception(error)
            if not isinstance(error, Away):
                raise
            return
        self.seconds.observe(time.monotonic() - start)
        for (_, future), answer in zip(calls, answers, strict=True):
            if future.done():
                continue
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)

    async def _twice(self, makers: Sequence[Callable[[], Command]]) -> tuple[list[Command], list[Any]]:
        """Commands and their answers. A connection that broke while nobody used it says so only when it is used."""
        if self._channel.connected:
            try:
                return await self._ask(makers)
            except Away as away:
                if isinstance(away.__cause__, TimeoutError):
                    raise
        await self._channel.call()
        return await self._ask(makers)

    async def _ask(self, makers: Sequence[Callable[[], Command]]) -> tuple[list[Command], list[Any]]:
        commands = [make() for make in makers]
        return commands, await self._channel.call(*commands)

"""Connections to Redis, with timeouts of our own, and whether Redis is there at all.

A `Channel` is one connection that sends commands and reads their answers, all of a call in one round trip. It connects
when it is first used and again after it was lost; it never sends anything twice. Answers are raw: bytes, whole numbers,
lists, None, and ResponseError in the place of a command that Redis refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import ssl
import time
from collections.abc import Callable
from typing import Any

from redis.asyncio import Connection, ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AskError,
    AuthenticationError,
    ClusterDownError,
    MovedError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)

from server.fleet.clock import FleetClock
from server.fleet.scripts import LOAD, Command, pack
from server.fleet.where import Where

PATIENCE = 2.0
"""Seconds that a round trip may take which does not wait for anything."""

CONNECT_SECONDS = 3.0

SLOW = 1e6
"""Bytes per second of the slowest link to Redis that is meant to work."""

FIRST_PAUSE = 0.05
LONGEST_PAUSE = 2.0
"""Seconds between two attempts to reach a Redis that is away: twice the one before, within these, by chance up to
twice as short."""

_NOT_NOW = (ReadOnlyError, ClusterDownError, AskError, TryAgainError)
"""Answers of a Redis that cannot serve now, through no fault of the command (MASTERDOWN is a kind of CLUSTERDOWN)."""

_NOT_NOW_WORDS = ("NOREPLICAS", "MISCONF", "UNBLOCKED")
"""How the answers begin that say the same and have no class of their own. UNBLOCKED: to a read that waited when the
Redis became a replica."""

_IN_SCRIPT = re.compile(r"Error running script .* -(READONLY|NOREPLICAS|MISCONF|MASTERDOWN|CLUSTERDOWN) ", re.DOTALL)
"""How Redis 6 says the same of a command inside a script; later ones begin with the word there too."""


_BROKEN = (RedisError, OSError, TimeoutError, RuntimeError)
"""What a connection raises that is of no use any more; RuntimeError is uvloop's, for one that broke a moment ago."""


class Away(Exception):
    """Redis did not answer; what was sent may have been done or not."""


class Redis:
    """One Redis, as this process sees it."""

    def __init__(self, where: Where, name: str, say: Callable[[str], None]) -> None:
        """`name` is shown to who lists Redis' clients. ValueError or OSError for a `where` that cannot be right."""
        self.shown = where.shown
        self._say = say
        self._lost: float | None = None
        self.on_return: Callable[[], None] = lambda: None
        """Called when Redis is back."""
        self.clock = FleetClock()
        """Its time, which every new connection asks for: another Redis may answer now, with another time."""
        self._pool = ConnectionPool.from_url(
            where.url,
            protocol=2,
            # Ours are around each round trip: the library's would cut off a read that waits for work.
            socket_timeout=None,
            socket_connect_timeout=CONNECT_SECONDS,
            retry=Retry(NoBackoff(), 0),
            client_name=name,
            **where.options(),
        )
        given = self._pool.connection_kwargs
        self._home: dict[str, Any] = {name: given[name] for name in ("host", "port") if name in given}

    @property
    def away(self) -> bool:
        """Whether Redis could not be reached when this was last tried."""
        return self._lost is not None

    def channel(self) -> Channel:
        """A connection of its own."""
        return Channel(self)

    async def check(self) -> None:
        """Reach Redis once. ValueError if it does not let us in; if it is away that is said, and no error."""
        try:
            await _drop(await self._connect())
        except _BROKEN as error:
            if _refuses(error):
                raise ValueError(f"--redis {self.shown}: {_words(error)}") from None
            self._mark_away(error)

    async def connect(self) -> Connection:
        """A new connection that knows our scripts, when Redis has told its time. Raises Away."""
        try:
            connection = await self._connect()
        except _BROKEN as error:
            self._pool.connection_kwargs.update(self._home)
            self._mark_away(error)
            raise Away(f"Redis at {self.shown} cannot be reached: {_words(error)}") from error
        self._mark_back()
        return connection

    async def _connect(self) -> Connection:
        connection: Connection = self._pool.make_connection()
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await connection.connect()
                asked = time.monotonic()
                await connection.send_packed_command(pack([("TIME",), *LOAD]), check_health=False)
                seconds, micros = await connection.read_response()
                self.clock.learn(int(seconds), int(micros), asked, time.monotonic())
                for _ in LOAD:
                    await connection.read_response()
        except BaseException:
            await _drop(connection)
            raise
        return connection

    def follow(self, moved: MovedError) -> None:
        """All keys of a fleet are on another node of the cluster: connect to that one from now on."""
        if self._home:  # a socket of this machine leads to no other node
            self._pool.connection_kwargs.update(host=moved.host, port=moved.port)

    def _mark_away(self, error: BaseException) -> None:
        if self._lost is None:
            self._lost = time.monotonic()
            self._say(f"Redis at {self.shown} cannot be reached: {_words(error)}; trying again until it is there")

    def _mark_back(self) -> None:
        if self._lost is not None:
            self._say(f"Redis at {self.shown} is there again, after {time.monotonic() - self._lost:.1f} s")
            self._lost = None
            self.on_return()


class Channel:
    """One connection, for one call at a time."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._connection: Connection | None = None

    @property
    def connected(self) -> bool:
        """Whether there is a connection, as far as is known."""
        return self._connection is not None

    async def call(self, *commands: Command, patience: float = PATIENCE) -> list[Any]:
        """Send commands and give their answers, in a round trip of about `patience` seconds at most. Raises Away.

        What is large has more time to be sent.
        """
        patience += sum(len(part) for command in commands for part in command if isinstance(part, bytes)) / SLOW
        if self._connection is None:
            self._connection = await self._redis.connect()
        connection = self._connection
        try:
            async with asyncio.timeout(patience):
                await connection.send_packed_command(pack(commands), check_health=False)
                return [await _answer(connection) for _ in commands]
        except _BROKEN as error:
            await self.close()
            if isinstance(error, MovedError):
                self._redis.follow(error)
            raise Away(f"Redis at {self._redis.shown} does not answer: {_words(error)}") from error
        except BaseException:
            await self.close()  # answers of this call must not be taken for those of the next
            raise

    async def close(self) -> None:
        """Give the connection up; the next call makes another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await _drop(connection)


class Pause:
    """How long to wait before Redis is tried again."""

    def __init__(self) -> None:
        self._longest = FIRST_PAUSE

    def reset(self) -> None:
        """It worked."""
        self._longest = FIRST_PAUSE

    async def wait(self) -> None:
        """Wait longer each time, and not at the same moments as all the others."""
        await asyncio.sleep(self._longest * random.uniform(0.5, 1.0))
        self._longest = min(LONGEST_PAUSE, 2 * self._longest)


async def _answer(connection: Connection) -> Any:
    try:
        return await connection.read_response()
    except ResponseError as error:
        if isinstance(error, MovedError):
            raise  # the key lives on another node of the cluster
        if _not_now(error):
            raise ConnectionError(str(error)) from None  # another Redis takes over, and this one writes nothing
        return error


def _not_now(error: BaseException) -> bool:
    """Whether a Redis cannot serve now, and waiting may change that."""
    if isinstance(error, _NOT_NOW):
        return True
    text = str(error)
    return isinstance(error, ResponseError) and bool(text.startswith(_NOT_NOW_WORDS) or _IN_SCRIPT.match(text))


def _refuses(error: BaseException) -> bool:
    """Whether Redis was reached and does not let us in, which waiting would not change."""
    tls = isinstance(error.__cause__ or error.__context__, ssl.SSLError)
    return tls or (isinstance(error, AuthenticationError | ResponseError | ssl.SSLError) and not _not_now(error))


async def _drop(connection: Connection) -> None:
    with contextlib.suppress(Exception):
        await connection.disconnect(nowait=True)


def refusal(error: ResponseError) -> str:
    """Why Redis refused a command, in words for a person. Redis 6 and 7 say otherwise that their memory is full."""
    return "its memory is full" if "used memory > 'maxmemory'" in str(error) else str(error)


def _words(error: BaseException) -> str:
    return str(error) or ("no answer in time" if isinstance(error, TimeoutError) else type(error).__name__)

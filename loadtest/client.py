"""HTTP/1.1 over kept connections, in one thread: a request takes a free connection, or opens one.

Of our own because of what it must say: when a request was begun and when its last byte came, by the clock of the event
loop, at a cost that leaves the machine to the server (about 0.1 ms a request). Parsing is llhttp's, through httptools.
"""

from __future__ import annotations

import asyncio
import errno
import math
import resource
import select
import selectors
import ssl
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import httptools

BIGGEST_REPLY = 2**28
"""Bytes of a body; what is longer is not read to its end."""

SPARE_FILES = 64
"""Descriptors that are left for other things than connections."""

_OURS = {errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.ENOBUFS, errno.ENOMEM}
"""Errors of a connection that are this machine's, not the server's."""

_SCAN = 0.05
"""Seconds between looks for requests that have waited too long."""


class Address(NamedTuple):
    """Where the server is."""

    host: str
    """Numeric."""
    port: int
    name: str | None
    """Whose certificate is wanted. None: plain HTTP."""


class Reply(NamedTuple):
    """What came of a request; times of the loop's clock."""

    status: int
    """0: none, and `failure` says why."""
    failure: str
    """One of result.FAILURES, or empty."""
    headers: dict[bytes, bytes]
    """With lower-case names."""
    body: bytes
    begun: float
    """When it was taken up: written, or a connection for it begun."""
    done: float


Done = Callable[[Reply], None]


class PreciseSelector(selectors.EpollSelector):
    """Waits as long as it is told to: epoll alone rounds up to whole milliseconds."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """The files that are ready, after `timeout` seconds at most."""
        if timeout is not None and timeout > 0:
            select.select((self.fileno(),), (), (), timeout)
            timeout = 0
        return super().select(timeout)


def new_loop() -> asyncio.AbstractEventLoop:
    """An event loop whose timers are precise to about 0.1 ms (those of uvloop are of whole milliseconds)."""
    return asyncio.SelectorEventLoop(PreciseSelector())


class Client:
    """Sends requests to one address. Belongs to the running loop."""

    def __init__(self, address: Address, timeout: float, connections: int) -> None:
        """`timeout`: seconds from when a request is begun. `connections`: further requests wait for a free one."""
        self._loop = asyncio.get_running_loop()
        self._address = address
        self._tls = None if address.name is None else ssl.create_default_context()
        self._timeout = timeout
        self._limit = min(connections, _allow_files(connections))
        self._free: list[_Connection] = []
        self._flights: dict[_Flight, None] = {}
        """In the order in which they were begun."""
        self._waiting: deque[tuple[bytes, Done]] = deque()
        self._opening: set[asyncio.Task[None]] = set()
        self._drained = asyncio.Event()
        self._drained.set()
        self._scan = self._loop.call_later(_SCAN, self._give_up)
        self.retried = 0
        self.fault = ""
        """Why this machine could not send a request, for the person."""

    @property
    def in_flight(self) -> int:
        """Requests begun or waiting for a connection."""
        return len(self._flights) + len(self._waiting)

    def send(self, data: bytes, done: Done) -> None:
        """Send a request; `done` is called with its reply, once, never within this call."""
        self._drained.clear()
        if len(self._flights) >= self._limit:
            self._waiting.append((data, done))
            self.fault = f"all connections ({self._limit}) were in use at once, and --connections allows no more"
        else:
            self._begin(data, done)

    async def drained(self) -> None:
        """Wait until nothing is in flight."""
        await self._drained.wait()

    def abandon(self) -> None:
        """Give up what is in flight; it is called back without status and failure, as done at infinity."""
        waiting, self._waiting = list(self._waiting), deque()
        for flight in list(self._flights):
            flight.leave()
            self.finish(flight, Reply(0, "", {}, b"", flight.begun, math.inf))
        for _, done in waiting:
            done(Reply(0, "", {}, b"", math.inf, math.inf))

    async def close(self) -> None:
        """End all connections; what is in flight is not called back."""
        self._scan.cancel()
        self._waiting.clear()
        flights, self._flights = list(self._flights), {}
        for flight in flights:
            flight.leave()
        for connection in self._free:
            connection.close()
        await asyncio.gather(*self._opening, return_exceptions=True)

    def _begin(self, data: bytes, done: Done) -> None:
        flight = _Flight(data, done, self._loop.time())
        self._flights[flight] = None
        while self._free:
            connection = self._free.pop()
            if connection.usable:
                flight.reused = True
                connection.carry(flight)
                return
        self._open(flight)

    def _open(self, flight: _Flight) -> None:
        flight.opening = task = self._loop.create_task(self._connect(flight))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _connect(self, flight: _Flight) -> None:
        host, port, name = self._address
        try:
            _, connection = await self._loop.create_connection(
                lambda: _Connection(self), host, port, ssl=self._tls, server_hostname=name
            )
        except OSError as error:
            if error.errno in _OURS:
                self.fault = f"this machine could open no further connection: {error.strerror}"
            self.finish(flight, _failed(flight, "refused", self._loop.time()))
            return
        if flight in self._flights:
            flight.opening = None
            connection.carry(flight)
        else:
            self._free.append(connection)

    def finish(self, flight: _Flight, reply: Reply) -> None:
        """A flight is over."""
        if flight not in self._flights:
            return
        del self._flights[flight]
        if self._waiting:
            self._begin(*self._waiting.popleft())
        elif not self._flights:
            self._drained.set()
        flight.done(reply)

    def free(self, connection: _Connection) -> None:
        """A connection can carry another request."""
        self._free.append(connection)

    def lost(self, connection: _Connection, flight: _Flight | None) -> None:
        """A connection ended, under a flight or idle."""
        if flight is None:
            if connection in self._free:
                self._free.remove(connection)
        elif flight.reused and not connection.heard and flight in self._flights:
            # The server closed it as idle while the request was on its way. Whatever it is, it may run twice.
            flight.reused = False
            self.retried += 1
            self._open(flight)
        else:
            self.finish(flight, _failed(flight, "closed", self._loop.time()))

    def _give_up(self) -> None:
        now = self._loop.time()
        for flight in list(self._flights):
            if now - flight.begun < self._timeout:
                break
            flight.leave()
            self.finish(flight, _failed(flight, "timeout", now))
        self._scan = self._loop.call_later(_SCAN, self._give_up)


class _Flight:
    """A request on its way."""

    __slots__ = ("begun", "connection", "data", "done", "opening", "reused")

    def __init__(self, data: bytes, done: Done, begun: float) -> None:
        self.data, self.done, self.begun = data, done, begun
        self.connection: _Connection | None = None
        self.opening: asyncio.Task[None] | None = None
        self.reused = False

    def leave(self) -> None:
        """Give up what carries it."""
        if self.opening is not None:
            self.opening.cancel()
        if self.connection is not None:
            self.connection.close()


def _failed(flight: _Flight, failure: str, now: float) -> Reply:
    return Reply(0, failure, {}, b"", flight.begun, now)


class _Connection(asyncio.Protocol):
    """A connection, and the reply that comes over it."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._flight: _Flight | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._headers: dict[bytes, bytes] = {}
        self._pieces: list[bytes] = []
        self._size = 0
        self._in_body = False
        self._status = 0
        """Of the whole reply; 0: it is not whole yet."""
        self._keep = False
        self.heard = False
        """Whether anything has come since the request was sent."""

    @property
    def usable(self) -> bool:
        """Whether a request can be sent over it."""
        return self._transport is not None and not self._transport.is_closing()

    def carry(self, flight: _Flight) -> None:
        """Send a request."""
        flight.connection, self._flight = self, flight
        self._headers, self._pieces, self._size = {}, [], 0
        self._in_body = self._keep = self.heard = False
        self._status = 0
        assert self._transport is not None
        self._transport.write(flight.data)

    def close(self) -> None:
        """End it, and forget its flight."""
        self._flight = None
        if self._transport is not None:
            self._transport.abort()

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self._flight is None:
            self.close()  # nobody asked
            return
        self.heard = True
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._end("malformed")
            return
        if self._size > BIGGEST_REPLY:
            self._end("malformed")
        elif self._status:
            self._end()

    def connection_lost(self, error: Exception | None) -> None:
        flight = self._flight
        # A body without a length ends with the connection.
        if flight is not None and error is None and self._in_body and self._endless():
            self._status = self._parser.get_status_code()
            self._end()
            return
        self._flight = None
        self._client.lost(self, flight)

    # What the parser calls.

    def on_message_begin(self) -> None:
        # A reply that nobody asked for, behind the one that was: this connection is out of step.
        if self._status:
            self._keep = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._status:
            self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        self._in_body = self._parser.get_status_code() >= 200

    def on_body(self, body: bytes) -> None:
        self._size += len(body)
        if not self._status and self._size <= BIGGEST_REPLY:
            self._pieces.append(body)

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:  # 100, 103: the reply is still to come
            self._headers = {}
        elif not self._status:
            self._status = status
            self._keep = self._parser.should_keep_alive()

    def _endless(self) -> bool:
        return b"content-length" not in self._headers and b"transfer-encoding" not in self._headers

    def _end(self, failure: str = "") -> None:
        flight, self._flight = self._flight, None
        assert flight is not None
        now = self._loop.time()
        if self._keep and not failure:
            self._client.free(self)
        elif self._transport is not None:
            self._transport.abort()
        if failure:
            self._client.finish(flight, _failed(flight, failure, now))
        else:
            body = b"".join(self._pieces)
            self._client.finish(flight, Reply(self._status, "", self._headers, body, flight.begun, now))


def _allow_files(connections: int) -> int:
    """Raise this process's limit of open files as far as needed and allowed; how many connections fit into it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + SPARE_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return connections if soft == resource.RLIM_INFINITY else max(1, soft - SPARE_FILES)

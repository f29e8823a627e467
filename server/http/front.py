"""The HTTP server: uvicorn (httptools) with our signals, our errors, and bounds on what a client may take: the bytes of
a request's head, the time to send a request, and the time to read the reply.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from http import HTTPStatus
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from server.http import departure, problem
from server.http.departure import Departures
from server.http.plan import Receive, Scope, Send
from server.http.problem import Problem

Application = Callable[[Scope, Receive, Send], Awaitable[None]]


MAX_HEAD = 65_536
"""Bytes of a request's line and headers, or of its trailers."""

HEAD_SECONDS = 10.0
"""How long a client may take to send a request's line and headers."""

BODY_SECONDS = 60.0
"""How long it may take for the whole request."""

UNREAD_SECONDS = 30.0
"""How long bytes of a reply may wait without the client's taking any."""

_SWEEP_TICKS = 10
"""uvicorn's ticks of 0.1 s between two looks at all connections."""


class Protocol(HttpToolsProtocol):
    """uvicorn's protocol, with problem documents for what is not HTTP and for a head without end.

    The parser keeps a header until it is complete and copies it for every piece that arrives: a few MB of one hold up
    the event loop for seconds.
    """

    _pending = 0
    """Bytes received since the parser last had a whole head, message or piece of a body."""
    _begun: float | None = None
    """When the request that is being received began."""
    _headed = False
    """Whether its head is whole."""
    _moved = 0.0
    """When something last came from the client, or a reply was finished."""
    _unread = 0
    """Bytes of replies that were not taken when `check` last looked, and since when there are no fewer."""
    _unread_since = 0.0
    _refusal: Problem | None = None
    """What is said of a request that cannot be read, once those before it are answered; nothing is read after it."""

    def connection_made(self, transport: Any) -> None:
        """A client is there."""
        self._moved = self.loop.time()
        self._departures = Departures()
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """It has left."""
        super().connection_lost(exc)
        self._departures.happen()

    def data_received(self, data: bytes) -> None:
        """Parse, and refuse a head that is too long."""
        self._moved = self.loop.time()
        self._pending += len(data)
        if self.transport.is_closing() or self._refusal is not None:
            return
        super().data_received(data)
        if self._pending > MAX_HEAD and not self.transport.is_closing() and self._refusal is None:
            self._refuse(problem.head_too_large(MAX_HEAD))

    def on_message_begin(self) -> None:
        """The first byte of a request is here."""
        self._begun, self._headed = self._moved, False
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """A head is whole."""
        self._pending = 0
        self.scope[departure.KEY] = self._departures  # type: ignore[literal-required]
        if (refused := self._misfit()) is not None:
            self._refuse(refused)
            raise _Refused
        super().on_headers_complete()
        self._headed = True
        if self.scope["method"] != "HEAD":  # whose replies are a head and nothing else
            self.cycle.transport = _Whole(self.transport)  # type: ignore[assignment]

    def on_body(self, body: bytes) -> None:
        """A piece of a body is here."""
        self._pending = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """A message is whole."""
        self._pending = 0
        self._begun = None
        super().on_message_complete()
        if not self.pipeline:
            # uvicorn stops reading at a long body until more is asked for. Nobody asks, and the end would not be seen.
            self.flow.resume_reading()

    def on_response_complete(self) -> None:
        """A reply is handed over."""
        self._moved = self.loop.time()
        if self._refusal is not None and not self.pipeline and not self.transport.is_closing():
            self._write_refusal(self._refusal)
        super().on_response_complete()

    def check(self, now: float) -> None:
        """Close the connection of a client that sends or reads too slowly, or was idle for too long."""
        unread = self.transport.get_write_buffer_size()
        if not unread or unread < self._unread or not self._unread:
            self._unread_since = now
        self._unread = unread
        if unread and now - self._unread_since > UNREAD_SECONDS:
            self.transport.abort()
            return
        if self.transport.is_closing() or self._refusal is not None:
            return
        answering = bool(self.cycle) and not self.cycle.response_complete  # uvicorn starts with no cycle
        if self._begun is None:
            if not answering and now - self._moved > self.timeout_keep_alive + 1:
                self.transport.close()
        elif not self._headed:
            # Behind a request that is being answered, the next one is read when there is time.
            if not answering and now - self._begun > HEAD_SECONDS:
                self._refuse(problem.too_slow("head", HEAD_SECONDS))
        elif now - self._begun > BODY_SECONDS:
            if answering and not self.cycle.response_started:
                self._refuse(problem.too_slow("body", BODY_SECONDS))
            else:
                self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """Answer bytes that cannot be parsed."""
        if self.transport.is_closing() or self._refusal is not None:  # answered, or will be
            return
        too_long = self._pending > MAX_HEAD
        self._refuse(
            problem.head_too_large(MAX_HEAD) if too_long else problem.malformed("this is not a valid HTTP/1.1 request")
        )

    def _misfit(self) -> Problem | None:
        """What is wrong with a head that the parser lets pass, if something is."""
        if len(self.url) >= MAX_HEAD:  # whole, because it came in one piece
            return problem.head_too_large(MAX_HEAD)
        hosts, coding, length = 0, b"", b"0"
        for name, value in self.headers:
            if name == b"host":
                hosts += 1
            elif name == b"transfer-encoding":
                coding += value
            elif name == b"content-length":
                length = value
        if hosts != 1 and (hosts or self.parser.get_http_version() == "1.1"):  # RFC 9112, 3.2
            return problem.malformed(f"a request has one Host header, and this one has {hosts}")
        if coding and coding.lower() != b"chunked":
            return problem.not_implemented("Transfer-Encoding", coding, "send the body plain or chunked")
        if self.parser.should_upgrade() and (coding or int(length)):
            # The parser takes what follows for another protocol's, so that the body would be lost.
            return problem.not_implemented("Upgrade", b"", "a request with a body goes without it (curl: --http1.1)")
        return None

    def _refuse(self, refused: Problem) -> None:
        """Answer the request that is being read and close the connection, in its turn: replies go out in the order of
        the requests (RFC 9112, 9.3.2)."""
        waits = bool(self.cycle) and not self.cycle.response_complete
        if self._begun is not None and self._headed:  # it has a cycle, the newest
            if self.pipeline:
                self.pipeline.popleft()
            elif self.cycle.response_started:  # what is written now would be taken for a piece of it
                self.transport.close()
                return
            else:
                waits = False
        if waits:
            self._refusal = refused
        else:
            self._write_refusal(refused)

    def _write_refusal(self, refused: Problem) -> None:
        """Write the answer and close the connection."""
        body = refused.body()
        milliseconds = 1000 * (self.loop.time() - (self._moved if self._begun is None else self._begun))
        head = (
            f"HTTP/1.1 {refused.status} {HTTPStatus(refused.status).phrase}\r\ncontent-type: {problem.MEDIA_TYPE}\r\n"
            f"content-length: {len(body)}\r\nserver-timing: total;dur={milliseconds:.3f}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()


class _Refused(Exception):
    """The head was answered; the parser need not go on."""


class _Whole:
    """The transport as one reply sees it: the head waits for the first piece of the body, so that both are one system
    call and the client wakes once."""

    __slots__ = ("_head", "_transport")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._head: bytes | None = None

    def write(self, data: bytes) -> None:
        if self._head is None and not data.startswith(b"HTTP/1.1 100 "):
            self._head = data
        elif self._head:
            head, self._head = self._head, b""
            self._transport.writelines((head, data))
        else:
            self._transport.write(data)

    def close(self) -> None:
        if self._head:
            self._transport.write(self._head)
        self._transport.close()

    def is_closing(self) -> bool:
        return self._transport.is_closing()


class Front(uvicorn.Server):
    """uvicorn's server, which leaves signals to its owner: uvicorn would raise SIGTERM again after the drain, and the
    process would not end with 0. Once a second it looks at every connection."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield

    async def on_tick(self, counter: int) -> bool:
        """What is done ten times a second; whether to exit."""
        if counter % _SWEEP_TICKS == 0:
            sweep(self.server_state.connections)
        return await super().on_tick(counter)


def sweep(connections: Collection[Any]) -> None:
    """Close those of clients that are too slow."""
    for protocol in list(connections):
        protocol.check(protocol.loop.time())


def shortcut(endpoints: Mapping[tuple[str, str], Application], api: Application) -> Application:
    """`api`, but what stands in `endpoints` by (method, path) goes straight there, past the framework's seven layers.

    A HEAD is passed on as a GET: uvicorn, which still knows, leaves out the body.
    """

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "HEAD":
            scope = {**scope, "method": "GET"}
        await endpoints.get((scope["method"], scope["path"]), api)(scope, receive, send)

    return application


def build_front(app: Application, keep_alive_seconds: int) -> Front:
    """A server for `app`. When it should exit it waits for open requests, until its `force_exit` is set."""
    # Their warnings tell of clients' mistakes, which clients are told; errors are ours.
    for name in ("uvicorn.error", "python_multipart"):
        logging.getLogger(name).setLevel(logging.ERROR)
    config = uvicorn.Config(
        app,
        interface="asgi3",
        http=Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # a layer on every request, for addresses that nothing here reads
        timeout_keep_alive=keep_alive_seconds,
    )
    return Front(config)

"""The HTTP server: uvicorn (httptools) with our signals, our errors and a bound on what a request's head may take."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterator
from http import HTTPStatus

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from server.http import problem
from server.http.generate import Receive, Scope, Send
from server.http.problem import Problem

Application = Callable[[Scope, Receive, Send], Awaitable[None]]


MAX_HEAD = 65_536
"""Bytes of a request's line and headers, or of its trailers."""


class Protocol(HttpToolsProtocol):
    """uvicorn's protocol, with problem documents for what is not HTTP and for a head without end.

    The parser keeps a header until it is complete and copies it for every piece that arrives: a few MB of one hold up
    the event loop for seconds.
    """

    _pending = 0
    """Bytes received since the parser last had a whole head, message or piece of a body."""

    def data_received(self, data: bytes) -> None:
        """Parse, and refuse a head that is too long."""
        self._pending += len(data)
        super().data_received(data)
        if self._pending > MAX_HEAD and not self.transport.is_closing():
            self._refuse(problem.head_too_large(MAX_HEAD))

    def on_headers_complete(self) -> None:
        """A head is whole."""
        self._pending = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of a body is here."""
        self._pending = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """A message is whole."""
        self._pending = 0
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer bytes that cannot be parsed."""
        self._refuse(problem.malformed("this is not a valid HTTP/1.1 request"))

    def _refuse(self, refused: Problem) -> None:
        """Answer and close the connection."""
        body = refused.body()
        head = (
            f"HTTP/1.1 {refused.status} {HTTPStatus(refused.status).phrase}\r\ncontent-type: {problem.MEDIA_TYPE}\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()


class Front(uvicorn.Server):
    """uvicorn's server, which leaves signals to its owner: uvicorn would raise SIGTERM again after the drain, and the
    process would not end with 0."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


def shortcut(generate: Application, api: Application) -> Application:
    """`api`, but requests for pictures go straight to `generate`, past the framework's seven layers.

    A HEAD is passed on as a GET: uvicorn, which still knows, leaves out the body.
    """

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "HEAD":
            scope = {**scope, "method": "GET"}
        direct = scope["path"] == "/generate" and scope["method"] in ("POST", "GET")
        await (generate if direct else api)(scope, receive, send)

    return application


def build_front(app: Application, keep_alive_seconds: int) -> Front:
    """A server for `app`. When it should exit it waits for open requests, until its `force_exit` is set."""
    # Its warnings tell of clients' mistakes, which clients are told; errors are ours.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    config = uvicorn.Config(
        app,
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

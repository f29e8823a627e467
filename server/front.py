"""The HTTP server: uvicorn (uvloop, httptools) with our signals and our errors."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterator

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from server import problem
from server.generate import Receive, Scope, Send

Application = Callable[[Scope, Receive, Send], Awaitable[None]]


class Protocol(HttpToolsProtocol):
    """uvicorn's protocol, with a problem document for what is not HTTP."""

    def send_400_response(self, msg: str) -> None:
        """Answer bytes that cannot be parsed, and close the connection."""
        body = problem.malformed("this is not a valid HTTP/1.1 request").body()
        head = (
            f"HTTP/1.1 400 Bad Request\r\ncontent-type: {problem.MEDIA_TYPE}\r\n"
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
    """`api`, but requests for pictures go straight to `generate`, past the framework's seven layers."""

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        direct = scope["path"] == "/generate" and scope["method"] in ("POST", "GET", "HEAD")
        await (generate if direct else api)(scope, receive, send)

    return application


def build_front(app: Application, keep_alive_seconds: int) -> Front:
    """A server for `app`. When it should exit it waits for open requests, until its `force_exit` is set."""
    # Its warnings tell of clients' mistakes, which clients are told; errors are ours.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http=Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=keep_alive_seconds,
    )
    return Front(config)

"""The pages of a process that serves no clients: /livez, /readyz and /metrics, for its supervisor and Prometheus.

`longjump worker --metrics-port`. One request for each connection, GET or HEAD, nothing read but its first line.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from server.observe.metrics import CONTENT_TYPE, Metrics

MAX_HEAD = 16_384
"""Bytes of a request's head."""

HEAD_SECONDS = 5.0
"""How long a head may take to come, and a reply to be taken."""

_TEXT = "text/plain; charset=utf-8"
_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 503: "Service Unavailable"}

Answer = tuple[int, str, bytes]
"""Status, media type and body."""


async def open_page(host: str, port: int, metrics: Metrics, unready: Callable[[], str | None]) -> asyncio.Server:
    """Answer on an address until the server that is returned is closed. OSError if it cannot be listened on.

    `unready` says why no work should come, or None; it is asked by /readyz.
    """

    def answer(method: str, path: str) -> Answer:
        if method not in ("GET", "HEAD"):
            return 405, _TEXT, b"GET or HEAD\n"
        match path:
            case "/livez":
                return 200, _TEXT, b"ok\n"
            case "/readyz":
                reason = unready()
                return (200, _TEXT, b"ready\n") if reason is None else (503, _TEXT, f"{reason}\n".encode())
            case "/metrics":
                return 200, CONTENT_TYPE, metrics.text()
        return 404, _TEXT, b"/livez, /readyz and /metrics are here\n"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, EOFError, TimeoutError, asyncio.LimitOverrunError):
            async with asyncio.timeout(2 * HEAD_SECONDS):
                async with asyncio.timeout(HEAD_SECONDS):
                    head = await reader.readuntil(b"\r\n\r\n")
                words = head.partition(b"\r\n")[0].decode("latin-1").split(" ")
                method, target = words[:2] if len(words) == 3 else ("", "")
                found = answer(method, target.partition("?")[0]) if method else (400, _TEXT, b"this is no HTTP\n")
                writer.write(_reply(found, body=method != "HEAD"))
                await writer.drain()
        writer.close()

    return await asyncio.start_server(serve, host, port, limit=MAX_HEAD)


def _reply(answer: Answer, body: bool) -> bytes:
    status, media, content = answer
    head = (
        f"HTTP/1.1 {status} {_REASONS[status]}\r\ncontent-type: {media}\r\ncontent-length: {len(content)}\r\n"
        "cache-control: no-store\r\nconnection: close\r\n\r\n"
    )
    return head.encode("latin-1") + (content if body else b"")

"""A request line, headers or trailers without an end are refused before they fill the memory or hold up the loop."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from server.http.front import MAX_HEAD, Protocol, build_front


class Wire(asyncio.Transport):
    """The transport to a client, in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.said = b""
        self.closed = self.aborted = False
        self.unread = 0

    def write(self, data: Any) -> None:
        self.said += data

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def abort(self) -> None:
        self.aborted = True

    def get_write_buffer_size(self) -> int:
        return self.unread

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


async def answer(scope: Any, receive: Any, send: Any) -> None:
    """An application that reads a request to its end and answers it."""
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


def connect() -> tuple[Protocol, Wire]:
    front = build_front(answer, keep_alive_seconds=75)
    front.config.load()
    protocol, wire = Protocol(front.config, front.server_state, {}), Wire()
    protocol.connection_made(wire)
    return protocol, wire


STARTS = {
    "request line": b"GET /generate?label=",
    "header": b"GET /generate HTTP/1.1\r\nx: ",
    "headers": b"GET /generate HTTP/1.1\r\n" + b"x: y\r\n" * 1000,
    "trailer": b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n1\r\n{\r\n0\r\nx: ",
}


@pytest.mark.parametrize("start", STARTS.values(), ids=STARTS.keys())
def test_head_without_an_end_is_refused(start: bytes) -> None:
    async def scenario() -> None:
        protocol, wire = connect()
        protocol.data_received(start)
        for _ in range(MAX_HEAD // 10_000):
            protocol.data_received(b"a" * 9_000)
        assert wire.said == b"", "what is within the bound is taken"
        protocol.data_received(b"a" * 12_000)
        head, _, body = wire.said.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 431 ")
        assert json.loads(body)["type"] == "urn:longjump:problem:head-too-large"
        assert wire.closed
        protocol.connection_lost(None)
        await asyncio.sleep(0)

    asyncio.run(scenario())


def test_requests_of_a_connection_do_not_add_up() -> None:
    """Control: the bound is on a head, not on a body or a connection."""

    async def scenario() -> None:
        protocol, wire = connect()
        for _ in range(4):
            head = b"POST /generate?%s HTTP/1.1\r\nhost: a\r\ncontent-length: 160000\r\n\r\n" % (b"&" * 30_000)
            for data in (head, b" " * 80_000, b" " * 80_000):
                protocol.data_received(data)
                await asyncio.sleep(0)
            for _ in range(10):
                await asyncio.sleep(0)
        assert wire.said.count(b"HTTP/1.1 200 OK") == 4
        assert not wire.closed
        protocol.connection_lost(None)

    asyncio.run(scenario())

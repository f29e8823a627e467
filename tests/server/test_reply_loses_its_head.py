"""A reply leaves in one piece, head and body together, whatever its body is; and nothing of it is kept back."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from .test_head_has_no_end import Wire, connect

START = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]}


class Counted(Wire):
    """A transport that notes what reaches the system at once."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[bytes] = []

    def write(self, data: Any) -> None:
        super().write(data)
        self.pieces.append(bytes(data))


async def talk(app: Any, request: bytes) -> Counted:
    protocol, _ = connect()
    wire = Counted()
    protocol.connection_made(wire)
    protocol.app = app
    protocol.data_received(request)
    for _ in range(10):
        await asyncio.sleep(0)
    assert not protocol.tasks
    protocol.connection_lost(None)
    return wire


async def whole(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send(START)
    await send({"type": "http.response.body", "body": b"ok"})


async def in_pieces(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for piece in (b"a", b"b"):
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def not_modified(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 304, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def dying(scope: Any, receive: Any, send: Any) -> None:
    await send(START)
    raise ArithmeticError("poison")


def test_head_and_body_are_one_write() -> None:
    async def scenario() -> None:
        wire = await talk(whole, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        assert len(wire.pieces) == 1
        assert wire.said.startswith(b"HTTP/1.1 200 OK\r\n")
        assert wire.said.endswith(b"\r\n\r\nok")

    asyncio.run(scenario())


def test_stream_begins_with_its_first_piece_and_keeps_nothing_back() -> None:
    async def scenario() -> None:
        wire = await talk(in_pieces, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        first, *rest = wire.pieces
        assert first.endswith(b"\r\n\r\n1\r\na\r\n")
        assert rest == [b"1\r\nb\r\n", b"0\r\n\r\n"]

    asyncio.run(scenario())


@pytest.mark.parametrize("app", [whole, not_modified])
@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
def test_head_alone_is_sent(app: Any, method: bytes) -> None:
    async def scenario() -> None:
        wire = await talk(app, method + b" / HTTP/1.1\r\nhost: a\r\n\r\n")
        assert wire.said.startswith(b"HTTP/1.1 ")
        assert wire.said.count(b"\r\n\r\n") == 1
        assert wire.said.endswith(b"ok") == (app is whole and method == b"GET")

    asyncio.run(scenario())


def test_what_was_begun_is_sent_before_the_connection_closes() -> None:
    async def scenario() -> None:
        wire = await talk(dying, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        assert wire.said.startswith(b"HTTP/1.1 200 OK\r\n")
        assert wire.closed

    asyncio.run(scenario())


def test_continue_is_not_kept_back() -> None:
    async def scenario() -> None:
        head = b"POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n"
        wire = await talk(whole, head + b"{}")
        assert wire.pieces[0] == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert wire.pieces[1].startswith(b"HTTP/1.1 200 OK\r\n")
        assert len(wire.pieces) == 2

    asyncio.run(scenario())

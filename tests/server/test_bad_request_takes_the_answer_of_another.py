"""A request that cannot be read is refused in its turn: those before it on the connection keep their answers, and
nothing is written into the middle of a reply."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from server.http.front import MAX_HEAD

from .test_head_has_no_end import Wire, connect

GOOD = b"POST /good HTTP/1.1\r\nhost: x\r\n\r\n"
OPEN = b"POST /open HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n1\r\n{\r\n"
OK = b"HTTP/1.1 200 OK"
REFUSED = b"HTTP/1.1 4"

BAD = {
    "no request": b"BAD LINE\r\n\r\n",
    "no host": b"GET /bad HTTP/1.1\r\n\r\n",
    "no path": b"CONNECT x:80 HTTP/1.1\r\nhost: x\r\n\r\n",
    "two lengths": b"POST /bad HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
    "head without end": b"GET /bad HTTP/1.1\r\nhost: x\r\ny: " + b"z" * (MAX_HEAD + 1),
    "broken body": OPEN + b"zz\r\n",
}


async def talk(app: Any, pieces: list[bytes], go: asyncio.Event) -> Wire:
    """What is said to the pieces; `go` is set when they are all there."""
    protocol, wire = connect()
    protocol.app = app
    for piece in pieces:
        protocol.data_received(piece)
        for _ in range(3):
            await asyncio.sleep(0)
    go.set()
    for _ in range(20):
        await asyncio.sleep(0)
    protocol.connection_lost(None)
    await asyncio.sleep(0)
    return wire


@pytest.mark.parametrize("apart", [False, True], ids=["together", "apart"])
@pytest.mark.parametrize("before", [1, 3])
@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
def test_requests_before_keep_their_answers(bad: bytes, before: int, apart: bool) -> None:
    async def scenario() -> None:
        go, asked = asyncio.Event(), []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            asked.append(scope["path"])
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
            await send({"type": "http.response.body", "body": b"o", "more_body": True})
            await go.wait()
            await send({"type": "http.response.body", "body": b"k"})

        pieces = [GOOD * before, bad, b"GET /after HTTP/1.1\r\nhost: x\r\n\r\n"]
        wire = await talk(app, pieces if apart else [b"".join(pieces)], go)
        assert asked == ["/good"] * before
        assert re.findall(rb"HTTP/1\.1 (\d)", wire.said) == [b"2"] * before + [b"4"]
        assert wire.said.count(b"\r\n\r\nokHTTP/1.1 ") == before, "each answer is whole, the refusal behind them"
        assert wire.closed

    asyncio.run(scenario())


def test_broken_body_of_an_answered_request_gets_no_second_answer() -> None:
    async def scenario() -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
            await send({"type": "http.response.body", "body": b"ok"})

        wire = await talk(app, [OPEN, b"zz\r\n"], asyncio.Event())
        assert wire.said.count(OK) == 1
        assert REFUSED not in wire.said
        assert wire.closed

    asyncio.run(scenario())


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
def test_control_behind_no_other_it_is_refused_at_once(bad: bytes) -> None:
    async def scenario() -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            while (await receive()).get("more_body"):
                pass

        wire = await talk(app, [bad], asyncio.Event())
        assert wire.said.startswith(REFUSED)
        assert wire.closed

    asyncio.run(scenario())

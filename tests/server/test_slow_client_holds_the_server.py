"""A client that sends or reads without end loses its connection; one that is only slow keeps it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from server.http.front import BODY_SECONDS, HEAD_SECONDS, UNREAD_SECONDS, sweep

from .test_head_has_no_end import connect

HEAD = b"POST /x HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\n"


class Connection:
    """A protocol, whose clock is the test's."""

    def __init__(self) -> None:
        self.protocol, self.wire = connect()
        self.now = 1000.0
        self.protocol.loop = self  # type: ignore[assignment]
        self.protocol.connection_made(self.wire)
        self._loop = asyncio.get_running_loop()

    def time(self) -> float:
        return self.now

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)

    def wait(self, seconds: float) -> None:
        """Time passes, and the server looks at its connections now and then."""
        end = self.now + seconds
        while self.now < end:
            self.now = min(end, self.now + 1)
            sweep([self.protocol])

    @property
    def over(self) -> bool:
        return self.wire.closed or self.wire.aborted


def scenario(test: Callable[[Connection], Awaitable[None]]) -> Callable[[], None]:
    def run() -> None:
        async def go() -> None:
            connection = Connection()
            await test(connection)
            connection.protocol.connection_lost(None)
            await asyncio.sleep(0)

        asyncio.run(go())

    run.__name__ = test.__name__
    return run


@scenario
async def test_head_that_does_not_come(connection: Connection) -> None:
    connection.protocol.data_received(b"POST /x HT")
    connection.wait(HEAD_SECONDS - 1)
    assert not connection.over
    connection.protocol.data_received(b"TP/1.1\r\n")  # a trickle does not help
    connection.wait(2)
    assert connection.wire.said.startswith(b"HTTP/1.1 408 ")
    assert b"request-too-slow" in connection.wire.said
    assert connection.over


@scenario
async def test_body_that_does_not_come(connection: Connection) -> None:
    connection.protocol.data_received(HEAD)
    await asyncio.sleep(0)
    connection.wait(BODY_SECONDS - 1)
    assert not connection.over
    connection.protocol.data_received(b"{")
    connection.wait(2)
    assert connection.wire.said.startswith(b"HTTP/1.1 408 ")
    assert connection.over


@scenario
async def test_connection_that_says_nothing(connection: Connection) -> None:
    connection.wait(60)
    assert not connection.over
    connection.wait(60)
    assert connection.over


@scenario
async def test_blank_lines_are_nothing(connection: Connection) -> None:
    connection.protocol.data_received(b"\r\n")
    connection.wait(120)
    assert connection.over


@scenario
async def test_reply_that_is_not_read(connection: Connection) -> None:
    connection.protocol.data_received(HEAD + b"true")
    for _ in range(10):
        await asyncio.sleep(0)
    connection.wire.unread = 1_000_000
    for _ in range(10):
        connection.wire.unread -= 1000  # slow, but it reads
        connection.wait(UNREAD_SECONDS - 5)
    assert not connection.wire.aborted
    connection.wait(UNREAD_SECONDS + 2)
    assert connection.wire.aborted


@scenario
async def test_request_that_is_answered_slowly_is_left_alone(connection: Connection) -> None:
    """Control: it is the server that is slow."""

    async def never(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.Event().wait()

    connection.protocol.app = never
    connection.protocol.data_received(HEAD + b"true" + b"POST /next HTTP/1.1\r\n")
    await asyncio.sleep(0)
    connection.wait(1000)
    assert not connection.over

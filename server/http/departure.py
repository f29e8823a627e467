"""When a client leaves: who works for it is told at once, without a task of its own that waits for that."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from server.http.plan import Receive, Scope

KEY = "longjump.departures"
"""Where `server.http.front` puts the Departures of a connection into the scope of its requests."""

Call = Callable[[], None]


class Watch(Protocol):
    """Tells when the client of one request has left."""

    def add(self, call: Call) -> None:
        """Call it when the client leaves; soon, if it has left."""

    def discard(self, call: Call) -> None:
        """Call it no more."""


class Departures:
    """Of one connection: whose calls are to be made when it is lost."""

    __slots__ = ("_calls", "_lost")

    def __init__(self) -> None:
        self._calls: set[Call] = set()
        self._lost = False

    def add(self, call: Call) -> None:
        """See Watch."""
        if self._lost:
            asyncio.get_running_loop().call_soon(call)
        else:
            self._calls.add(call)

    def discard(self, call: Call) -> None:
        """See Watch."""
        self._calls.discard(call)

    def happen(self) -> None:
        """The connection is lost."""
        self._lost = True
        calls, self._calls = self._calls, set()
        for call in calls:
            call()


class Asked:
    """Under another ASGI server: a task for each call, which asks for messages until it gets that one."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._tasks: dict[Call, asyncio.Task[None]] = {}

    def add(self, call: Call) -> None:
        """See Watch. Only after the body was read."""
        self._tasks[call] = asyncio.get_running_loop().create_task(self._wait(call))

    def discard(self, call: Call) -> None:
        """See Watch."""
        if (task := self._tasks.pop(call, None)) is not None:
            task.cancel()

    async def _wait(self, call: Call) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        call()


class Stays:
    """Of work that goes on whoever leaves: nobody does."""

    def add(self, call: Call) -> None:
        """See Watch."""

    def discard(self, call: Call) -> None:
        """See Watch."""


def watch(scope: Scope, receive: Receive) -> Watch:
    """What tells of the departure of a request's client."""
    return scope.get(KEY) or Asked(receive)

"""Sends each request at its time, whatever the server does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from loadtest.arrivals import Times
from loadtest.traffic import Requests

Send = Callable[[float, int, int, int], None]
"""(when it should be sent, kind, seed, case), by the clock of the loop."""

AT_ONCE = 64
"""Requests sent before replies are looked at again."""

TOO_LATE = 1.0
"""Seconds after the end at which a client that is behind its schedule gives up what is left of it."""


class OpenLoop:
    """A schedule, being sent."""

    def __init__(self, send: Send, start: float, times: Times, requests: Requests) -> None:
        """`times` are in seconds after `start`, rising."""
        self._loop = asyncio.get_running_loop()
        self._send = send
        self._times = (times + start).tolist()
        self._requests = [column.tolist() for column in (requests.kind, requests.seed, requests.case)]
        self._next = 0
        self._end = float("inf")
        self._timer: asyncio.TimerHandle | asyncio.Handle | None = None
        self.over = self._loop.create_future()
        """Done when all is sent that should be."""
        self._go()

    def end(self, at: float) -> None:
        """Send what should be sent before `at`, and no more."""
        self._end = at
        self._go()

    @property
    def unsent(self) -> int:
        """Requests that should have been sent before the end and were not."""
        return sum(at < self._end for at in self._times[self._next :]) if self.over.done() else 0

    def _go(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self.over.done():
            return
        times, (kinds, seeds, cases) = self._times, self._requests
        for _ in range(AT_ONCE):
            now = self._loop.time()
            i = self._next
            if i == len(times) or times[i] >= self._end or now > self._end + TOO_LATE:
                self.over.set_result(None)
                return
            if times[i] > now:
                self._timer = self._loop.call_at(times[i], self._go)
                return
            self._next += 1
            self._send(times[i], kinds[i], seeds[i], cases[i])
        self._timer = self._loop.call_soon(self._go)

"""Sends the next request when a reply has come: so many are in flight all the time, which shows peak throughput."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import numpy as np

from loadtest.traffic import Mix, draw

Send = Callable[[float, int, int, int, Callable[[bool], None]], None]
"""(when it should be sent, kind, seed, case, what to call with whether the reply was good)."""

BACK_OFF = 0.1
"""Seconds that a sender waits after a reply that was not good: refusals at full speed would be another load."""

_CHUNK = 1024


class ClosedLoop:
    """`concurrency` senders, each of which sends when its last request is answered."""

    def __init__(
        self, send: Send, start: float, mix: Mix, concurrency: int, seed: int, process: int, processes: int
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._send = send
        self._requests = _endless(mix, seed, process, processes)
        self._end = float("inf")
        self._idle = 0
        self._concurrency = concurrency
        self.over = self._loop.create_future()
        """Done when the last reply has come."""
        self.unsent = 0
        for _ in range(concurrency):
            self._loop.call_at(start, self._next)

    def end(self, at: float) -> None:
        """Send nothing from `at` on."""
        self._end = at

    def _next(self) -> None:
        now = self._loop.time()
        if now >= self._end:
            self._idle += 1
            if self._idle == self._concurrency and not self.over.done():
                self.over.set_result(None)
            return
        self._send(now, *next(self._requests), self._answered)

    def _answered(self, good: bool) -> None:
        if good:
            self._loop.call_soon(self._next)
        else:
            self._loop.call_later(BACK_OFF, self._next)


def _endless(mix: Mix, seed: int, process: int, processes: int) -> Iterator[tuple[int, int, int]]:
    rng = np.random.default_rng([seed, 3, process])
    first = process
    while True:
        requests = draw(mix, _CHUNK, rng, first, processes)
        first += _CHUNK * processes
        yield from zip(requests.kind.tolist(), requests.seed.tolist(), requests.case.tolist())

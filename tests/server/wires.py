"""Workers that a test plays itself: the frames that a dispatch sends, and what it gets back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from server.backend.dispatch import Dispatch
from server.backend.queue import MemoryQueue
from server.schedule.admission import Bounds
from server.schedule.costs import Costs
from server.schedule.placement import ROOM_TICKS
from server.wire import Frames

KNEE = 2
"""Rows of a tick, by the costs of `dispatch`."""

ROOM = ROOM_TICKS * KNEE
"""Rows that a worker has ahead of a job that it is given."""


def dispatch() -> Dispatch:
    """A dispatch without workers, whose ticks take up to KNEE rows."""
    costs = Costs(KNEE)
    costs.observe(1, 0.001)
    costs.observe(2, 0.001)
    assert costs.knee == KNEE
    return Dispatch(MemoryQueue(Bounds(1000, 100_000, 2**20)), costs)


class Wire:
    """A worker that is up; it answers when the test says so."""

    def __init__(self, dispatch: Dispatch) -> None:
        self._dispatch = dispatch
        self._frames = Frames()
        self.sent: list[tuple[str, int]] = []
        """(op, id) of every frame that came; id 0 for a ping."""
        self.worker = dispatch.attach(self)

    def write(self, data: bytes) -> None:
        """What the dispatch calls."""
        self.sent += [(header["op"], header.get("id", 0)) for header, _ in self._frames.feed(data)]

    @property
    def jobs(self) -> list[int]:
        """The ids of the jobs that came, in order."""
        return [number for op, number in self.sent if op == "job"]

    def answer(self, op: str, number: int = 0, **fields: Any) -> None:
        """Send a frame."""
        plain = {"ticks": [], "labels": [0], "stages": [0, 0, 0, 0], "written": 0, "writing": False}
        header = {"op": op, "id": number, **plain, **fields}
        self._dispatch.receive(self.worker, header, [b"%d" % number])

    def die(self) -> None:
        """The process is gone."""
        self._dispatch.detach(self.worker)


async def settled() -> None:
    """Let everything happen that is due now."""
    for _ in range(5):
        await asyncio.sleep(0)


async def until(happens: Callable[[], object]) -> None:
    """Wait until `happens()` is true."""
    while not happens():  # noqa: ASYNC110
        await asyncio.sleep(0.001)

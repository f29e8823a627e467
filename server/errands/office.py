"""The errands of one process: where they are kept, who runs them, who tells of them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from server.errands.courier import Courier
from server.errands.errand import End, Errand, Record
from server.errands.runner import Runner
from server.errands.store import Store
from server.errands.tally import Tally
from server.errands.webhook import Hooks
from server.steady import steady

if TYPE_CHECKING:
    from server.backend.roads import Roads
    from server.http.desk import Desk


class Office:
    """Takes errands in, and gives them up."""

    def __init__(self, store: Store, desk: Desk, lines: Roads, max_images: int, hooks: Hooks) -> None:
        self.store = store
        self.hooks = hooks
        self.tally = Tally()
        self._courier = Courier(store, hooks, self.tally)
        self._runner = Runner(store, desk, lines, max_images, self.tally, self._courier.wake)
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to run and to tell."""
        loop = asyncio.get_running_loop()
        works = {"ran jobs": self._runner.run}
        if self.hooks.any:
            works["told of jobs"] = self._courier.run
        self._tasks = [loop.create_task(steady(what, work)) for what, work in works.items()]

    async def add(self, errand: Errand) -> None:
        """Take an errand in. Raises Full and Unreachable."""
        await self.store.add(errand)
        self._runner.wake()

    async def cancel(self, errand_id: str) -> None:
        """End an errand, if it is not over. Raises Unreachable."""
        if await self.store.end(errand_id, End("cancelled"), mine=False):
            self.tally.ended["cancelled"] += 1
            self._runner.cancel(errand_id)
            self._courier.wake()

    async def find(self, errand_id: str, client: str) -> Record | None:
        """An errand of a client's own. Raises Unreachable."""
        record = await self.store.get(errand_id)
        return record if record is not None and record.errand.client == client else None

    async def close(self, patience: float) -> int:
        """Finish what was begun within `patience` seconds; how many errands are lost."""
        lost = await self._runner.close(patience) if self._tasks else 0
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        return lost

"""Work in flight: jobs that lines have, who waits for each, and which of them others may join."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING

from server.backend.queue import QueueFull
from server.http import problem
from server.http.cache import ResponseCache
from server.http.plan import Plan, Visit
from server.jobs import Job, Part, Result, Stopped
from server.schedule.admission import Admitted

if TYPE_CHECKING:
    from server.backend.roads import Road


class Flight:
    """One job with a line, and who waits for it."""

    def __init__(self, line: Road, job: Job, key: Hashable | None, explicit: bool, keep: bool) -> None:
        self.line = line
        self.job = job
        self.key = key
        """Where its result is kept; None: nowhere, and nobody may join."""
        self.explicit = explicit
        """Whether the deadline is a client's and not the default."""
        self.keep = keep
        """Whether to finish when nobody waits."""
        self.over = False
        self.waiters: set[asyncio.Future[Result]] = set()

    def join(self) -> asyncio.Future[Result]:
        """A future of its own for one more client."""
        waiter: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self.waiters.add(waiter)
        return waiter

    def suits(self, visit: Visit) -> bool:
        """Whether a visitor is served by this at least as soon as it may expect for itself."""
        if self.job.priority not in ("interactive", visit.priority):
            return False
        if visit.deadline is None and not self.explicit:
            return True  # it came earlier under the same default
        return self.job.deadline <= latest(visit, self.line)


def latest(visit: Visit, line: Road) -> float:
    """Until when a visitor who shares another's work waits for it, a time of its arrival's clock."""
    return visit.arrival + (line.default_deadline(visit.priority) if visit.deadline is None else visit.deadline)


class Flights:
    """All work in flight of one server."""

    def __init__(self, cache: ResponseCache) -> None:
        self._cache = cache
        self._shared: dict[Hashable, Flight] = {}
        """Those that others may join. Bounded by what the queues take."""
        self._ids = itertools.count(1)

    def find(self, key: Hashable, visit: Visit) -> Flight | None:
        """Work that a visitor may join."""
        flight = self._shared.get(key)
        return flight if flight is not None and flight.suits(visit) else None

    async def launch(
        self,
        line: Road,
        plan: Plan,
        visit: Visit,
        admitted: Admitted,
        key: Hashable | None,
        on_part: Callable[[Part], None] | None = None,
    ) -> Flight:
        """Give admitted work to its line. Its result goes into the cache, if there is a key.

        Raises Overtaken, and Problem (429, 503).

        `on_part`: the job shows every step.
        """
        steps, every_step = admitted.steps, on_part is not None
        job = plan.job(next(self._ids), visit, steps, admitted.due, admitted.deadline, every_step=every_step)
        # What cannot be kept need not be finished for anybody.
        flight = Flight(line, job, key, visit.deadline is not None, visit.finish and key is not None)
        try:
            future = await line.dispatch.submit(job, on_part)
        except QueueFull as error:
            raise problem.queue_full(str(error)) from None
        except Stopped as error:
            raise problem.not_ready(str(error)) from None
        if key is not None:
            self._shared[key] = flight
        future.add_done_callback(lambda done: self._land(flight, done))
        return flight

    def leave(self, flight: Flight, waiter: asyncio.Future[Result]) -> None:
        """One client does not wait any more; the last one takes unfinished work with it."""
        flight.waiters.discard(waiter)
        if flight.over or flight.waiters or flight.keep:
            return
        self._forget(flight)
        flight.line.dispatch.cancel(flight.job.id)

    def _land(self, flight: Flight, done: asyncio.Future[Result]) -> None:
        """The work is over: everybody gets its end."""
        flight.over = True
        self._forget(flight)
        error = Stopped("the work was given up") if done.cancelled() else done.exception()
        if error is None and flight.key is not None:
            self._cache.put(flight.key, done.result())
        for waiter in flight.waiters:
            if waiter.done():
                continue
            if error is None:
                waiter.set_result(done.result())
            else:
                waiter.set_exception(error)

    def _forget(self, flight: Flight) -> None:
        """Nobody else joins a flight."""
        if flight.key is not None and self._shared.get(flight.key) is flight:
            del self._shared[flight.key]

"""Between the queue and the workers: sends jobs where there is room, and answers to whoever waits for them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from server.backend.queue import Queue
from server.jobs import CancelStage, Expired, Job, JobFailed, Part, Result, Stages, Stopped
from server.schedule.costs import Costs
from server.schedule.placement import place
from server.wire import pack

MAX_DEATHS = 3
"""Workers that may die with a job in hand before the job is taken for the cause and fails."""

HEAR_SECONDS = 0.001
"""After a worker's reply has gone on its way, what came with it is looked at: ticks and what they cost."""

Ticked = Callable[[int, float, int], None]
"""Called with (rows, seconds, padding) of every tick."""

Cancelled = Callable[[CancelStage], None]

OnPart = Callable[[Part], None]


class Wire(Protocol):
    """What is written to a worker."""

    def write(self, data: bytes) -> None:
        """Send without waiting."""


@dataclass(eq=False)
class Attached:
    """A worker that is up, and what it has."""

    wire: Wire
    taken: dict[int, Job] = field(default_factory=dict)
    heard: bool = True
    """Whether a frame came since the supervisor last looked."""
    written: int = 0
    """Replies whose encoding it had begun when it was last asked."""
    stuck: int = 0
    """How often in a row it was asked and was still at the reply that it was encoding when it was asked before."""


@dataclass(eq=False)
class _Waiter:
    answer: asyncio.Future[Result]
    on_part: OnPart | None
    expiry: asyncio.TimerHandle | None = None
    """Set while the job waits in the queue."""


class Dispatch:
    """One bundle's jobs on their way to its workers and back; lives on one event loop."""

    def __init__(
        self,
        queue: Queue,
        costs: Costs,
        ticked: Ticked = lambda rows, seconds, padding: None,
        cancelled: Cancelled = lambda stage: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.queue = queue
        self.costs = costs
        """Refined by every tick that a worker tells of."""
        self._ticked = ticked
        self._cancelled = cancelled
        self._unheard: list[tuple[int, float, int]] = []
        """Ticks that were told of and not looked at yet."""
        self._clock = clock
        self._waiters: dict[int, _Waiter] = {}
        self._workers: list[Attached] = []
        self._holder: dict[int, Attached] = {}
        self._deaths: dict[int, int] = {}
        self._closed: str | None = None
        self._feeding = False
        """Whether a feed is due in this turn of the loop."""
        queue.on_arrival = self._feed

    @property
    def workers(self) -> int:
        """Workers that are up."""
        return len(self._workers)

    async def idle(self) -> None:
        """Wait until no job is here."""
        while self._waiters:
            await asyncio.wait([waiter.answer for waiter in self._waiters.values()])

    async def submit(self, job: Job, on_part: OnPart | None = None, *, alone: bool = False) -> asyncio.Future[Result]:
        """Queue a job; the future gives its Result or raises JobFailed (Expired if its deadline passed first).

        `on_part` is called for each Part of a job with `every_step`. `alone`: it may kill its worker, and runs without
        company. Raises QueueFull at once at a bound, and Stopped after `close`.
        """
        if self._closed is not None:
            raise Stopped(self._closed)
        # Before the job is in the queue, where a worker may have it at once.
        waiter = self._waiters[job.id] = _Waiter(asyncio.get_running_loop().create_future(), on_part)
        if alone:
            self._deaths[job.id] = 0
        try:
            await self.queue.put(job)
        except BaseException:
            self._waiters.pop(job.id, None)
            self._deaths.pop(job.id, None)
            raise
        if job.id not in self._holder:
            self._expire_later(job)
        return waiter.answer

    def cancel(self, job_id: int) -> None:
        """Drop a job that nobody waits for any more; its rows are in no later tick. Its future is cancelled."""
        waiter = self._forget(job_id)
        if waiter is not None:
            waiter.answer.cancel()  # `idle` may wait for it
        worker = self._holder.get(job_id)
        if worker is not None:
            worker.wire.write(pack({"op": "cancel", "id": job_id}))  # it answers where the job was
        if self._let_go(job_id) and worker is None:
            self._cancelled("waiting")
        self._feed_soon()

    def give_up_late(self, worker: Attached) -> None:
        """Tell the clients of jobs whose deadline has passed, at a worker that does not answer.

        The jobs stay the worker's: while it has work its silence counts, and it may still come back.
        """
        for job in worker.taken.values():
            waiter = self._forget(job.id) if job.deadline <= self._clock() else None
            if waiter is not None and not waiter.answer.done():
                waiter.answer.set_exception(Expired("its deadline passed, and its worker does not answer"))

    def attach(self, wire: Wire) -> Attached:
        """A worker is up: keep it busy."""
        worker = Attached(wire)
        self._workers.append(worker)
        self._feed()
        return worker

    def detach(self, worker: Attached) -> None:
        """A worker is gone: what it had goes back into the queue, but for jobs that keep killing workers."""
        self._workers.remove(worker)
        lost = list(worker.taken.values())
        worker.taken.clear()
        for job in lost:
            del self._holder[job.id]
            deaths = self._deaths[job.id] = self._deaths.get(job.id, 0) + 1
            if deaths >= MAX_DEATHS:
                self._fail(job.id, JobFailed(f"the worker process died {MAX_DEATHS} times while it ran this request"))
            elif job.deadline <= self._clock():
                self._fail(job.id, Expired(_TOO_LATE))
            else:
                self._expire_later(job)
        self.queue.give_back([job.id for job in lost])

    def close(self, reason: str) -> int:
        """No worker will run what is here or comes yet: fail it with Stopped(reason); return how many there were."""
        self._closed = reason
        ids = list(self._waiters)
        for job_id in ids:
            self._fail(job_id, Stopped(reason))
        return len(ids)

    def receive(self, worker: Attached, header: dict[str, Any], blobs: Sequence[bytes]) -> None:
        """Take in a frame of a worker (see `server.wire`)."""
        worker.heard = True
        if header["ticks"]:
            if not self._unheard:
                asyncio.get_running_loop().call_later(HEAR_SECONDS, self.hear)
            self._unheard += header["ticks"]
        match header["op"]:
            case "pong":
                still = header["writing"] and header["written"] == worker.written
                worker.stuck = worker.stuck + 1 if still else 0
                worker.written = header["written"]
                return
            case "cancelled":
                self._cancelled(header["stage"])
                return
            case "part":
                waiter = self._waiters.get(header["id"])
                if waiter is not None and waiter.on_part is not None:
                    waiter.on_part(Part(header["step"], blobs[0]))
                return
            case "failed":
                self._fail(header["id"], JobFailed(header["reason"]))
            case "expired":
                self._fail(header["id"], Expired(_TOO_LATE))
            case _:
                waiter = self._forget(header["id"])
                self._let_go(header["id"])
                if waiter is not None and not waiter.answer.done():
                    result = Result(header["labels"], Stages(*header["stages"]), list(blobs))
                    waiter.answer.set_result(result)
        self._feed()

    def hear(self) -> None:
        """Look at the ticks that workers told of, before the costs or their count are shown to somebody."""
        ticks, self._unheard = self._unheard, []
        for rows, seconds, padding in ticks:
            self._ticked(rows, seconds, padding)
            self.costs.observe(rows + padding, seconds)

    def _feed(self) -> None:
        """Send jobs, first in order first, while there is a worker for the first one."""
        self._feeding = False
        chosen: Attached | None = None

        def fits(job: Job) -> bool:
            nonlocal chosen
            chosen = self._place(job, now)
            return chosen is not None

        while True:
            now = self._clock()
            job = self.queue.take(now, fits)
            if job is None:
                return
            assert chosen is not None
            waiter = self._waiters.get(job.id)
            if waiter is not None and waiter.expiry is not None:
                waiter.expiry.cancel()
                waiter.expiry = None
            if not chosen.taken:
                chosen.heard = True  # its silence so far was that of a worker with nothing to say
            chosen.taken[job.id] = job
            self._holder[job.id] = chosen
            chosen.wire.write(pack(job.header(), job.blobs()))

    def _feed_soon(self) -> None:
        """Feed once for all that happens in this turn of the loop: a thousand clients may leave at once."""
        if not self._feeding:
            self._feeding = True
            asyncio.get_running_loop().call_soon(self._feed)

    def _place(self, job: Job, now: float) -> Attached | None:
        """The worker that gets a job, if one has room.

        A job that was with a worker which died, here or on another machine, runs alone, so that the next death counts
        against the job that caused it and not against the company it had.
        """
        if job.id in self._deaths:
            return next((worker for worker in self._workers if not worker.taken), None)
        open_to_all = [worker for worker in self._workers if not self._deaths.keys() & worker.taken.keys()]
        held = [worker.taken.values() for worker in open_to_all]
        chosen = place(job, held, lambda other: self.queue.key(other, now), self.costs.knee)
        return None if chosen is None else open_to_all[chosen]

    def _expire_later(self, job: Job) -> None:
        """Fail the job at its deadline if it still waits in the queue then."""
        waiter = self._waiters.get(job.id)
        if waiter is not None:
            loop = asyncio.get_running_loop()
            delay = max(0.0, job.deadline - self._clock())
            waiter.expiry = loop.call_later(delay, self._expire, job.id)

    def _expire(self, job_id: int) -> None:
        self._fail(job_id, Expired(_TOO_LATE))
        self._feed_soon()

    def _forget(self, job_id: int) -> _Waiter | None:
        waiter = self._waiters.pop(job_id, None)
        if waiter is not None and waiter.expiry is not None:
            waiter.expiry.cancel()
        return waiter

    def _fail(self, job_id: int, error: JobFailed) -> None:
        waiter = self._forget(job_id)
        self._let_go(job_id)
        if waiter is not None and not waiter.answer.done():
            waiter.answer.set_exception(error)

    def _let_go(self, job_id: int) -> bool:
        """Forget a job; whether it was known. Who calls this feeds what it frees."""
        self._deaths.pop(job_id, None)
        worker = self._holder.pop(job_id, None)
        if worker is not None:
            del worker.taken[job_id]
        return self.queue.done(job_id)


_TOO_LATE = "its deadline passed before it was begun"

"""Between the queue and the worker: sends jobs while there is room, and answers to whoever waits for them."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from typing import Any

from server.backend.queue import Queue
from server.jobs import Job, JobFailed, Result, Stages, Stopped
from server.wire import pack

MAX_DEATHS = 3
"""Workers that may die with a job in hand before the job is taken for the cause and fails."""

SMOOTHING = 0.05
"""Weight of one tick in the running mean of the time that a row-step takes."""

Ticked = Callable[[int, float], None]
"""Called with (rows, seconds) of every tick."""


class Dispatch:
    """The API process's side of the work: one event loop, one worker at a time."""

    def __init__(self, queue: Queue, ticked: Ticked = lambda rows, seconds: None) -> None:
        self.queue = queue
        self._ticked = ticked
        self._waiters: dict[int, asyncio.Future[Result]] = {}
        self._taken: dict[int, Job] = {}
        self._deaths: dict[int, int] = {}
        self._rows_out = 0
        self._freed = asyncio.Event()
        self._transport: asyncio.WriteTransport | None = None
        self._feeder: asyncio.Task[None] | None = None
        self._row_seconds = 0.0
        self._closed: str | None = None

    async def submit(self, job: Job) -> asyncio.Future[Result]:
        """Queue a job; the future gives its Result or raises JobFailed.

        Raises QueueFull at once at the bound, and Stopped after `close`.
        """
        if self._closed is not None:
            raise Stopped(self._closed)
        waiter: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiters[job.id] = waiter  # before the job is in the queue, where a worker may have it at once
        try:
            await self.queue.put(job)
        except BaseException:
            self._waiters.pop(job.id, None)
            raise
        return waiter

    def cancel(self, job_id: int) -> None:
        """Drop a job that nobody waits for any more, wherever it is; its rows are in no later tick."""
        self._waiters.pop(job_id, None)
        if self._let_go(job_id) is not None and self._transport is not None:
            self._transport.write(pack({"op": "cancel", "id": job_id}))

    def predicted_wait(self) -> float:
        """Seconds until all admitted work is done, by the mean time of a row-step so far."""
        return self.queue.row_steps * self._row_seconds

    def retry_after(self) -> int:
        """Whole seconds after which a refused request may find room, at least 1."""
        return max(1, math.ceil(self.predicted_wait()))

    def attach(self, transport: asyncio.WriteTransport, room: int) -> None:
        """A worker is up: keep up to `room` samples with it."""
        self._transport = transport
        self._feeder = asyncio.get_running_loop().create_task(self._feed(transport, room))

    def detach(self) -> None:
        """The worker is gone: what it had goes back into the queue, but for jobs that keep killing workers."""
        self._transport = None
        if self._feeder is not None:
            self._feeder.cancel()
            self._feeder = None
        lost = list(self._taken)
        for job_id in lost:
            self._deaths[job_id] = self._deaths.get(job_id, 0) + 1
            if self._deaths[job_id] >= MAX_DEATHS:
                self._fail(job_id, f"the worker process died {MAX_DEATHS} times while it ran this request")
        self.queue.give_back(list(self._taken))
        self._taken.clear()
        self._rows_out = 0

    def close(self, reason: str) -> int:
        """No worker will run what is here or comes yet: fail it with Stopped(reason); return how many there were."""
        self._closed = reason
        waiters, self._waiters = self._waiters, {}
        for job_id, waiter in waiters.items():
            self._let_go(job_id)
            if not waiter.done():
                waiter.set_exception(Stopped(reason))
        return len(waiters)

    def receive(self, header: dict[str, Any], blobs: Sequence[bytes]) -> None:
        """Take in a `done` or `failed` frame of the worker."""
        for rows, seconds in header["ticks"]:
            self._ticked(rows, seconds)
            mean = seconds / rows
            self._row_seconds += (mean - self._row_seconds) * (SMOOTHING if self._row_seconds else 1.0)
        if header["op"] == "failed":
            self._fail(header["id"], header["reason"])
            return
        self._let_go(header["id"])
        waiter = self._waiters.pop(header["id"], None)
        if waiter is not None and not waiter.done():
            waiter.set_result(Result(header["labels"], Stages(*header["stages"]), list(blobs)))

    async def _feed(self, transport: asyncio.WriteTransport, room: int) -> None:
        while True:
            # After a death one job at a time, until those that were with the worker are done: the next death then
            # counts against the job that caused it, and not against the company it had.
            free = (1 if self._deaths else room) - self._rows_out
            if free <= 0:
                self._freed.clear()
                await self._freed.wait()
                continue
            for job in await self.queue.take(free):
                self._taken[job.id] = job
                self._rows_out += job.n
                transport.write(pack(job.header()))

    def _fail(self, job_id: int, reason: str) -> None:
        self._let_go(job_id)
        waiter = self._waiters.pop(job_id, None)
        if waiter is not None and not waiter.done():
            waiter.set_exception(JobFailed(reason))

    def _let_go(self, job_id: int) -> Job | None:
        """Forget a job; return it if a worker had it."""
        self.queue.done(job_id)
        self._deaths.pop(job_id, None)
        job = self._taken.pop(job_id, None)
        if job is not None:
            self._rows_out -= job.n
            self._freed.set()
        return job

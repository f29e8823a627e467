"""The queue between the API process and the workers: its interface, and the one that lives in memory.

A job is put once, taken by a worker when that has room, and leaves when it is done. A taken job that was not done can
be given back, because its worker died: jobs are complete and deterministic, so running one twice is harmless.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Protocol

from server.jobs import Job


class QueueFull(Exception):
    """The queue is at its bound."""


class Queue(Protocol):
    """Jobs on their way to workers, oldest first. `put` and `take` may wait for I/O; the rest need no answer."""

    max_waiting: int

    @property
    def waiting(self) -> int:
        """Jobs not taken yet."""

    @property
    def running(self) -> int:
        """Jobs taken and not done."""

    @property
    def row_steps(self) -> int:
        """Row-steps of all jobs waiting and running."""

    async def put(self, job: Job) -> None:
        """Add a job behind all others. Raises QueueFull at the bound."""

    async def take(self, room: int) -> list[Job]:
        """Wait until there is a job, and take the oldest ones, until their samples fill `room`.

        The first is given even if it alone is larger, so that every job is taken some day.
        """

    def done(self, job_id: int) -> None:
        """Forget a job, taken or waiting; unknown ones are ignored."""

    def give_back(self, job_ids: Iterable[int]) -> None:
        """Put taken jobs back to where they stood, before everything that came after them."""


class MemoryQueue:
    """A Queue within one process, for one event loop.

    Its bound is `max_waiting` jobs waiting; what workers have taken is bounded by their room. Given-back jobs may
    exceed it: they were admitted.
    """

    def __init__(self, max_waiting: int) -> None:
        self.max_waiting = max_waiting
        self.row_steps = 0
        self._waiting: dict[int, Job] = {}
        self._running: dict[int, Job] = {}
        self._arrived = asyncio.Event()

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def running(self) -> int:
        return len(self._running)

    async def put(self, job: Job) -> None:
        if len(self._waiting) >= self.max_waiting:
            raise QueueFull
        self._waiting[job.id] = job
        self.row_steps += job.row_steps
        self._arrived.set()

    async def take(self, room: int) -> list[Job]:
        while not self._waiting:
            self._arrived.clear()
            await self._arrived.wait()
        taken: list[Job] = []
        while self._waiting and (not taken or room >= next(iter(self._waiting.values())).n):
            job = self._waiting.pop(next(iter(self._waiting)))
            self._running[job.id] = job
            room -= job.n
            taken.append(job)
        return taken

    def done(self, job_id: int) -> None:
        job = self._running.pop(job_id, None) or self._waiting.pop(job_id, None)
        if job is not None:
            self.row_steps -= job.row_steps

    def give_back(self, job_ids: Iterable[int]) -> None:
        back = {job_id: self._running.pop(job_id) for job_id in job_ids if job_id in self._running}
        ordered = sorted((*back.values(), *self._waiting.values()), key=lambda job: job.id)
        self._waiting = {job.id: job for job in ordered}
        if ordered:
            self._arrived.set()

"""The queue between the API process and the workers: its interface, and the one that lives in memory.

A job is put once, taken for a worker that has room, and leaves when it is done. A taken job that was not done can be
given back, because its worker died: jobs are complete and deterministic, so running one twice is harmless.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from typing import Protocol

from server.jobs import Job
from server.schedule.admission import Backlog, Bounds
from server.schedule.policy import Key, Shares, changes, order_key, standing

SPARE = 64
"""Entries of jobs that are gone, kept in a heap beyond two for each job that waits: their turn may be far off."""


class QueueFull(Exception):
    """The queue is at one of its bounds; the message says which."""


def job_bytes(job: Job) -> int:
    """Bytes that a job holds in the API process until it is done: those of the image, or points, that came with it."""
    return sum(map(len, job.blobs()))


class Queue(Protocol):
    """Jobs on their way to workers, in the policy's order.

    Between machines jobs travel by a Redis (`server.fleet`), whose agents put what they take into one of these.
    """

    bounds: Bounds
    backlog: Backlog
    """All jobs waiting and running."""
    on_arrival: Callable[[], None]
    """Called when `take` may have more to give."""

    @property
    def waiting(self) -> int:
        """Jobs not taken yet."""

    @property
    def running(self) -> int:
        """Jobs taken and not done."""

    async def put(self, job: Job) -> None:
        """Add a job. Raises QueueFull at a bound."""

    def take(self, now: float, fits: Callable[[Job], bool]) -> Job | None:
        """Take the first job in the order, if there is one and it `fits`; never one behind it."""

    def done(self, job_id: int) -> bool:
        """Forget a job, taken or waiting; False if it is unknown."""

    def give_back(self, job_ids: Iterable[int]) -> None:
        """Put taken jobs back to where they stand in the order; unknown ones are ignored."""

    def key(self, job: Job, now: float) -> Key:
        """Where a job stands in the order: the smallest goes first."""


class MemoryQueue:
    """A Queue within one process, for one event loop.

    Its bounds hold for all jobs put and not done: what workers have taken counts, so that jobs given back by a worker
    that died cannot exceed them. Whatever the bounds, an empty queue takes any one job.
    """

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self.backlog = Backlog()
        self.on_arrival: Callable[[], None] = lambda: None
        self._shares = Shares()
        self._waiting: dict[int, Job] = {}
        self._running: dict[int, Job] = {}
        # Jobs of one client and one standing never change places, so that only the first of each is compared. An entry
        # whose job is gone is skipped when it comes to the top; one whose standing has changed is in two groups.
        self._groups: dict[tuple[str, int], list[tuple[float, int]]] = {}
        self._changes: list[tuple[float, int]] = []

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def running(self) -> int:
        return len(self._running)

    async def put(self, job: Job) -> None:
        size = job_bytes(job)
        excess = self.bounds.excess(self.backlog, job.row_steps, size)
        if excess is not None:
            wanted = f"{excess.wanted} {excess.what.replace('_', '-')}"
            raise QueueFull(f"with this request the queue would hold {wanted}; its bound is {excess.bound}")
        self.backlog.add(job.priority, job.client, job.row_steps, size)
        self._shares.arrive(job.client)
        self._enqueue(job)
        self.on_arrival()

    def take(self, now: float, fits: Callable[[Job], bool]) -> Job | None:
        while self._changes and self._changes[0][0] <= now:
            job = self._waiting.get(heapq.heappop(self._changes)[1])
            if job is not None:
                self._push(job, now)
        firsts = [job for group in tuple(self._groups) if (job := self._first(group)) is not None]
        job = min(firsts, key=lambda first: self.key(first, now), default=None)
        if job is None or not fits(job):
            return None
        self._running[job.id] = self._waiting.pop(job.id)
        self._shares.charge(job.client, job.row_steps)
        return job

    def done(self, job_id: int) -> bool:
        job = self._running.pop(job_id, None) or self._waiting.pop(job_id, None)
        if job is None:
            return False
        self.backlog.remove(job.priority, job.client, job.row_steps, job_bytes(job))
        self._shares.leave(job.client)
        return True

    def give_back(self, job_ids: Iterable[int]) -> None:
        for job in [self._running.pop(job_id) for job_id in job_ids if job_id in self._running]:
            self._shares.charge(job.client, -job.row_steps)
            self._enqueue(job)
        self.on_arrival()

    def key(self, job: Job, now: float) -> Key:
        return order_key(job, now, self._shares)

    def _enqueue(self, job: Job) -> None:
        self._waiting[job.id] = job
        self._push(job, job.arrival)
        if len(self._changes) > 2 * len(self._waiting) + SPARE:
            self._changes = [change for change in self._changes if change[1] in self._waiting]
            heapq.heapify(self._changes)
        for moment in changes(job):
            heapq.heappush(self._changes, (moment, job.id))

    def _push(self, job: Job, now: float) -> None:
        group = self._groups.setdefault((job.client, standing(job, now)), [])
        if len(group) > 2 * len(self._waiting) + SPARE:
            group[:] = [entry for entry in group if entry[1] in self._waiting]
            heapq.heapify(group)
        heapq.heappush(group, (job.due, job.id))

    def _first(self, group: tuple[str, int]) -> Job | None:
        """The first waiting job of a group; a group without one is dropped."""
        heap = self._groups[group]
        while heap:
            job = self._waiting.get(heap[0][1])
            if job is not None:
                return job
            heapq.heappop(heap)
        del self._groups[group]
        return None

"""Rows -> ticks: every unfinished row of every request, and one network evaluation at a time for some of them.

The mechanism only: which rows a tick takes is decided by a policy (`server.schedule.policy`), what a step does by the
sampler that the whole project shares (`export.runtime.sampler`). A row's arithmetic never depends on its neighbours.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from export.runtime.engines import Engine
from export.runtime.grids import Grid
from export.runtime.noise import INITIAL_STEP, draw_label, normal
from export.runtime.sampler import advance
from server.jobs import Job
from server.schedule.policy import Policy, Row, State, first_come


@dataclass(frozen=True)
class Finished:
    """A request whose samples have all arrived at t = 0."""

    job: Job
    labels: list[int]
    z: NDArray[np.float32]
    """[n, *z_shape]."""
    queue: float
    """Seconds from admission to its first tick."""
    network: float
    """Seconds of the ticks that it took part in."""


@dataclass(frozen=True)
class Tick:
    """What one tick did."""

    rows: int
    seconds: float
    finished: list[Finished] = field(default_factory=list)
    failed: list[tuple[Job, Exception]] = field(default_factory=list)


@dataclass
class _Request:
    job: Job
    grid: Grid
    labels: list[int]
    z: NDArray[np.float32]
    """[n, *z_shape]: each sample where it is now; undefined before its first step."""
    left: int
    queue: float | None = None
    network: float = 0.0


class Ticks:
    """The unfinished rows of one engine. Not thread-safe: one thread owns it, as one thread owns the device."""

    def __init__(
        self,
        engine: Engine,
        max_rows: int,
        policy: Policy = first_come,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine = engine
        self._max_rows = max_rows
        self._policy = policy
        self._clock = clock
        manifest = engine.manifest
        self._z_shape = tuple(manifest.z_shape)
        self._null_label = manifest.null_label
        self._with_guidance = manifest.guidance is not None
        self._grids = {steps: manifest.grid(steps) for steps in manifest.steps}
        self._requests: dict[int, _Request] = {}
        self._rows: dict[tuple[int, int], Row] = {}

    def __len__(self) -> int:
        """Unfinished rows."""
        return len(self._rows)

    def add(self, job: Job) -> None:
        """Take in the rows of a job, behind all others."""
        drawn = job.label is None
        labels = [draw_label(job.seed + i, self._null_label) if drawn else job.label for i in range(job.n)]
        z = np.empty((job.n, *self._z_shape), dtype=np.float32)
        self._requests[job.id] = _Request(job, self._grids[job.steps], labels, z, job.n)  # type: ignore[arg-type]
        for index in range(job.n):
            self._rows[job.id, index] = Row(job.id, index, job.arrival, job.steps, 0)

    def cancel(self, job_id: int) -> None:
        """Drop the rows of a job; they are in no later tick. Unknown and finished jobs are ignored."""
        request = self._requests.pop(job_id, None)
        if request is not None:
            for index in range(request.job.n):
                self._rows.pop((job_id, index), None)

    def run(self) -> Tick:
        """Run one tick over the rows that the policy picks. Call only while there are rows.

        If the engine raises, the requests of the tick run again one by one, so that only those that raise by
        themselves fail.
        """
        start = self._clock()
        picked = self._policy(State(self._rows.values(), self._max_rows), start)
        failed: list[tuple[Job, Exception]] = []
        by_request: dict[int, list[Row]] = {}
        for row in picked:
            by_request.setdefault(row.request, []).append(row)
        try:
            ended = [(picked, self._step(picked))]
        except Exception as error:
            ended = []
            for rows in by_request.values():
                try:
                    if len(by_request) == 1:
                        raise error
                    ended.append((rows, self._step(rows)))
                except Exception as own:
                    failed.append((self._requests[rows[0].request].job, own))
        now = self._clock()
        for job, _ in failed:
            self.cancel(job.id)
        for job_id in by_request.keys() & self._requests.keys():
            request = self._requests[job_id]
            if request.queue is None:
                request.queue = start - request.job.arrival
            request.network += now - start
        finished = [done for rows, z in ended for done in self._arrive(rows, z)]
        return Tick(len(picked), now - start, finished, failed)

    def _step(self, rows: Sequence[Row]) -> NDArray[np.float32]:
        """One sampler step of each row by one network evaluation; changes nothing, so it may be repeated."""
        count = len(rows)
        z = np.empty((count, *self._z_shape), dtype=np.float32)
        t, s, a, b = numbers = np.empty((4, count), dtype=np.float32)
        labels = np.empty(count, dtype=np.int64)
        guidance = np.empty(count, dtype=np.float32) if self._with_guidance else None
        for i, row in enumerate(rows):
            request = self._requests[row.request]
            numbers[:, i] = request.grid[row.done]
            labels[i] = request.labels[row.sample]
            if guidance is not None:
                guidance[i] = request.job.guidance
            if row.done == 0:
                normal(request.job.seed + row.sample, INITIAL_STEP, self._z_shape, out=z[i])
            else:
                z[i] = request.z[row.sample]
        jumped = self._engine.jump(z, t, s, labels, guidance)
        noise = None
        if b.any():
            noise = np.zeros_like(z)
            for i in np.flatnonzero(b).tolist():
                seed = self._requests[rows[i].request].job.seed + rows[i].sample
                normal(seed, rows[i].done + 1, self._z_shape, out=noise[i])
        return advance(jumped, a, b, noise)

    def _arrive(self, rows: Sequence[Row], z: NDArray[np.float32]) -> list[Finished]:
        """Put the rows where their step led, and take out the requests that are finished."""
        finished = []
        for row, ended in zip(rows, z, strict=True):
            request = self._requests[row.request]
            request.z[row.sample] = ended
            if row.done + 1 < row.steps:
                self._rows[row.request, row.sample] = row._replace(done=row.done + 1)
                continue
            del self._rows[row.request, row.sample]
            request.left -= 1
            if not request.left:
                del self._requests[row.request]
                queue = request.queue or 0.0
                finished.append(Finished(request.job, request.labels, request.z, queue, request.network))
        return finished

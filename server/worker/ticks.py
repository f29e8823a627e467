"""Rows -> ticks: every unfinished row of every request, and one network evaluation at a time for some of them.

The mechanism only: which rows a tick takes is decided by the policy (`server.schedule.policy`), how many by what ticks
cost (`server.schedule.costs`), what a step does by the sampler that the whole project shares
(`export.runtime.sampler`). A row's arithmetic never depends on its neighbours.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from export.runtime.engines import Drawing, Engine
from export.runtime.noise import SEED_BOUND
from export.runtime.sampler import advance, heading
from server.jobs import PINNED_ROWS, Job
from server.schedule.costs import Costs
from server.schedule.policy import Row, Shares, State, pick
from server.worker.request import Request

KNEE_TICKS = 16
"""Ticks between two looks at the knee: costs move slowly, and fitting them is work."""

EXPLORING_TICKS = 256
"""One tick in so many may take twice the knee: else a larger tick that was once measured too slow stays so for ever."""


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
class Seen:
    """What a request with `every_step` is heading for after some of its steps."""

    job: Job
    step: int
    """Steps taken."""
    z: NDArray[np.float32]
    """[1, *z_shape], at t = 0."""


@dataclass(frozen=True)
class Tick:
    """What one tick did."""

    rows: int
    """Rows of the network evaluation; 0 if all that was there had expired."""
    seconds: float
    finished: list[Finished] = field(default_factory=list)
    failed: list[tuple[Job, Exception]] = field(default_factory=list)
    expired: list[Job] = field(default_factory=list)
    """Dropped unrun: their deadline passed before their first tick."""
    parts: list[Seen] = field(default_factory=list)
    costs: list[tuple[int, float, int]] = field(default_factory=list)
    """(rows, seconds, padding) of ticks, this one or earlier, whose whole cost is now known: from a tick's start to the
    next one's while there was work, so that what happens between ticks is counted too. `padding` rows more were
    evaluated for nobody."""


class Ticks:
    """The unfinished rows of one engine. Not thread-safe: one thread owns it, as one thread owns the device."""

    def __init__(self, engine: Engine, costs: Costs, clock: Callable[[], float] = time.monotonic) -> None:
        """A tick takes up to `costs.knee` rows; `costs` is refined with every tick. `clock` is that of Job.arrival."""
        self._engine = engine
        self._draw = engine.draw if isinstance(engine, Drawing) else None
        self._costs = costs
        self._clock = clock
        self._shares = Shares()
        manifest = engine.manifest
        self._z_shape = tuple(manifest.z_shape)
        self._with_guidance = manifest.guidance is not None
        self._grids = {steps: manifest.grid(steps) for steps in manifest.steps}
        self._requests: dict[int, Request] = {}
        self._rows: dict[tuple[int, int], Row] = {}
        self._unrun: dict[int, float] = {}  # the deadlines of requests that have had no tick
        self._count = 0
        self._knee, self._calm = costs.knee, costs.calm_rows
        # Rows, start, end, padding of a tick that another is to follow.
        self._last: tuple[int, float, float, int] | None = None
        self._settled: list[tuple[int, float, int]] = []
        self._padding = 0

    def __len__(self) -> int:
        """Unfinished rows."""
        return len(self._rows)

    def add(self, job: Job) -> None:
        """Take in the rows of a job. ValueError for one that this engine cannot run."""
        request = Request(job, self._engine, self._grids.get(job.steps))
        self._requests[job.id] = request
        self._unrun[job.id] = job.deadline
        self._shares.arrive(job.client)
        for sample in range(job.n):
            width = 1 if job.path is None else len(request.sample_labels(sample))
            self._rows[job.id, sample] = Row(
                job.id, sample, job.client, job.priority, job.arrival, job.due, job.deadline, job.steps, 0, width
            )

    def cancel(self, job_id: int) -> Literal["waiting", "running"] | None:
        """Drop the rows of a job; they are in no later tick. Returns whether it had had a tick; None for one that is
        unknown or finished."""
        request = self._requests.get(job_id)
        if request is None:
            return None
        stage: Literal["waiting", "running"] = "waiting" if job_id in self._unrun else "running"
        for sample in range(request.job.n):
            self._rows.pop((job_id, sample), None)
        self._leave(request)
        if not self._rows and self._last is not None:
            self._settle(self._last[2])
        return stage

    def run(self) -> Tick:
        """Run one tick over the rows that the policy picks. Call only while there are rows.

        If the engine raises, the requests of the tick run again one by one, so that only those that raise by
        themselves fail.
        """
        start = self._clock()
        expired = self._expire(start)
        if not self._rows:
            return Tick(0, 0.0, expired=expired, costs=self._take_settled())
        self._settle(start)
        max_rows, calm_rows = self._sizes()
        picked = pick(State(self._rows.values(), max_rows, self._shares, calm_rows), start)
        self._padding = 0
        failed: list[tuple[Job, Exception]] = []
        by_request: dict[int, list[Row]] = {}
        for row in picked:
            by_request.setdefault(row.request, []).append(row)
        seen: list[Seen] = []
        try:
            ended = [(picked, self._step(picked, seen))]
        except Exception as error:
            ended = []
            for rows in by_request.values():
                try:
                    if len(by_request) == 1:
                        raise error
                    ended.append((rows, self._step(rows, seen)))
                except Exception as own:
                    failed.append((self._requests[rows[0].request].job, own))
        now = self._clock()
        for job, _ in failed:
            self.cancel(job.id)
        for job_id in by_request.keys() & self._requests.keys():
            request = self._requests[job_id]
            if request.queue is None:
                request.queue = start - request.job.arrival
                self._unrun.pop(job_id, None)
            request.network += now - start
        finished = [done for rows, z in ended for done in self._arrive(rows, z)]
        width = sum([row.width for row in picked])
        if not failed:
            self._last = (width, start, now, self._padding)
            if not self._rows:
                self._settle(now)
        return Tick(width, now - start, finished, failed, expired, seen, self._take_settled())

    def _sizes(self) -> tuple[int, int | None]:
        """Rows that the next tick takes at most, and those that it takes at most while little waits."""
        self._count += 1
        if any(request.job.bitwise for request in self._requests.values()):
            return max(self._knee, PINNED_ROWS), None  # what is not taken would be filled up
        if self._count % KNEE_TICKS == 0 or self._count < KNEE_TICKS:
            self._knee, self._calm = self._costs.knee, self._costs.calm_rows
        if self._count % EXPLORING_TICKS == 0:
            return min(2 * self._knee, self._costs.max_rows), None
        return self._knee, self._calm

    def _expire(self, now: float) -> list[Job]:
        """Take out the requests whose deadline has passed before any of their rows ran."""
        late = [job_id for job_id, deadline in self._unrun.items() if deadline < now]
        jobs = [self._requests[job_id].job for job_id in late]
        for job in jobs:
            self.cancel(job.id)
        return jobs

    def _step(self, rows: Sequence[Row], seen: list[Seen]) -> NDArray[np.float32]:
        """One sampler step of each row by one network evaluation; adds to `seen` what requests want to see of it.

        Changes nothing else, so it may be repeated.
        """
        requests = [self._requests[row.request] for row in rows]
        z = np.empty((len(rows), *self._z_shape), dtype=np.float32)
        seeds = None if self._draw is None else self._drawn(rows, requests)
        for i, (row, request, place) in enumerate(zip(rows, requests, z)):
            if row.done:
                place[...] = request.z[row.sample]
            elif seeds is None or seeds[i] == SEED_BOUND:
                request.start(row.sample, place)
        steps = [request.grid[row.done] for row, request in zip(rows, requests)]
        t, s, a, b = np.array(steps, dtype=np.float32).T.copy()
        jumped = self._jump(rows, requests, z, t, s, seeds)
        noise = None
        if b.any():
            noise = np.zeros_like(z)
            for i in np.flatnonzero(b).tolist():
                requests[i].noise(rows[i].sample, rows[i].done + 1, noise[i])
        shown = [i for i, row in enumerate(rows) if requests[i].job.every_step and row.done + 1 < row.steps]
        if shown:
            ahead = heading(z[shown], jumped[shown], t[shown], s[shown])
            seen += [Seen(requests[i].job, rows[i].done + 1, ahead[k : k + 1]) for k, i in enumerate(shown)]
        return advance(jumped, a, b, noise)

    def _drawn(self, rows: Sequence[Row], requests: Sequence[Request]) -> NDArray[np.uint64] | None:
        """The seeds of rows whose first noise the engine is to make, u64 [rows], SEED_BOUND for the others; None
        where all z must be here: rows that are repeated for a second label or to fill up evaluations."""
        if any(row.width != 1 or request.job.bitwise for row, request in zip(rows, requests)):
            return None
        # What a viewer is shown on the way is reckoned from z.
        own = [
            None if row.done or request.job.every_step else request.drawn(row.sample)
            for row, request in zip(rows, requests)
        ]
        if not any(seed is not None for seed in own):
            return None
        return np.array([SEED_BOUND if seed is None else seed for seed in own], dtype=np.uint64)

    def _jump(
        self,
        rows: Sequence[Row],
        requests: Sequence[Request],
        z: NDArray[np.float32],
        t: NDArray[np.float32],
        s: NDArray[np.float32],
        seeds: NDArray[np.uint64] | None,
    ) -> NDArray[np.float32]:
        """The jump of every row; of one between two labels, the mean of both jumps, weighted by where it is."""
        labels: list[int] = []
        scales: list[float | None] = []
        places: list[int] = []
        for i, (row, request) in enumerate(zip(rows, requests)):
            own = request.sample_labels(row.sample)
            labels += own
            scales += [request.job.guidance] * len(own)
            places += [i] * len(own)
        guidance = np.array(scales, dtype=np.float32) if self._with_guidance else None
        label = np.array(labels, dtype=np.int64)
        pinned = any(request.job.bitwise for request in requests)
        if seeds is not None and self._draw is not None:
            return self._draw(seeds, z, t, s, label, guidance)
        if len(places) == len(rows) and not pinned:
            return self._engine.jump(z, t, s, label, guidance)
        jump = self._pinned if pinned else self._engine.jump
        both = jump(z[places], t[places], s[places], label, guidance)
        jumped = np.empty_like(z)
        first = 0
        for i, row in enumerate(rows):
            jumped[i] = both[first]
            if row.width == 2:
                weight = np.float32(requests[i].weight(row.sample))
                jumped[i] = (np.float32(1.0) - weight) * both[first] + weight * both[first + 1]
            first += row.width
        return jumped

    def _pinned(
        self,
        z: NDArray[np.float32],
        t: NDArray[np.float32],
        s: NDArray[np.float32],
        label: NDArray[np.int64],
        guidance: NDArray[np.float32] | None,
    ) -> NDArray[np.float32]:
        """The jump of rows in evaluations of PINNED_ROWS rows each, the last one filled up with its own last row."""
        jumped = np.empty_like(z)
        for first in range(0, len(z), PINNED_ROWS):
            last = min(len(z), first + PINNED_ROWS)
            self._padding += first + PINNED_ROWS - last
            part = np.minimum(np.arange(first, first + PINNED_ROWS), last - 1)
            scale = None if guidance is None else guidance[part]
            jumped[first:last] = self._engine.jump(z[part], t[part], s[part], label[part], scale)[: last - first]
        return jumped

    def _arrive(self, rows: Sequence[Row], z: NDArray[np.float32]) -> list[Finished]:
        """Put the rows where their step led, and take out the requests that are finished."""
        finished = []
        for row, ended in zip(rows, z, strict=True):
            request = self._requests[row.request]
            self._shares.charge(row.client, row.width)
            request.z[row.sample] = ended
            if row.done + 1 < row.steps:
                self._rows[row.request, row.sample] = row._replace(done=row.done + 1)
                continue
            del self._rows[row.request, row.sample]
            request.left -= 1
            if not request.left:
                self._leave(request)
                queue = request.queue or 0.0
                finished.append(Finished(request.job, request.labels, request.z, queue, request.network))
        return finished

    def _leave(self, request: Request) -> None:
        """Forget a request that has no rows left."""
        del self._requests[request.job.id]
        self._unrun.pop(request.job.id, None)
        self._shares.leave(request.job.client)

    def _settle(self, until: float) -> None:
        """The last tick, if its cost is still open, lasted until then."""
        if self._last is not None:
            rows, start, _, padding = self._last
            self._last = None
            self._costs.observe(rows + padding, until - start)
            self._settled.append((rows, until - start, padding))

    def _take_settled(self) -> list[tuple[int, float, int]]:
        settled, self._settled = self._settled, []
        return settled

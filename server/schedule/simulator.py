"""Traffic through admission, queue and workers' ticks, by events instead of a clock.

Runs the policy, costs and admission that the server runs; only the device is a function T(b). What it leaves out: HTTP,
decoding, encoding and the way between processes.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

from server.jobs import Job
from server.schedule.admission import Backlog, Bounds, Refused, Wanted, decide
from server.schedule.costs import Costs
from server.schedule.placement import place
from server.schedule.policy import Key, Policy, Row, Shares, State, order_key, pick

BOUNDS = Bounds(max_requests=1024, max_row_steps=1 << 20, max_bytes=1 << 30)


@dataclass
class Outcome:
    """What became of one request. Times are seconds from the start of the simulation."""

    wanted: Wanted
    fate: Literal["answered", "refused", "expired"] | None = None
    """None while it is on its way; at the end of a simulation: lost."""
    steps: int | None = None
    """Those it was admitted with."""
    deadline: float | None = None
    started: float | None = None
    finished: float | None = None

    @property
    def latency(self) -> float:
        """Seconds from arrival to answer, of an answered request."""
        assert self.finished is not None
        return self.finished - self.wanted.arrival

    @property
    def in_time(self) -> bool:
        """Whether it was answered within its deadline."""
        return self.finished is not None and self.deadline is not None and self.finished <= self.deadline


@dataclass(frozen=True)
class Run:
    """What a simulation saw."""

    outcomes: list[Outcome]
    """In the order of arrival."""
    tick_rows: list[int]
    """Rows of every tick, by width."""
    seconds: float
    """When the last event happened."""


@dataclass
class _Worker:
    shares: Shares = field(default_factory=Shares)
    jobs: dict[int, Job] = field(default_factory=dict)
    rows: dict[tuple[int, int], Row] = field(default_factory=dict)
    picked: list[Row] | None = None
    """The tick that runs."""
    seconds: float = 0.0


class _Simulation:
    def __init__(
        self, costs: Costs, tick_seconds: Callable[[int], float], workers: int, bounds: Bounds, policy: Policy
    ) -> None:
        self._costs = costs
        self._tick_seconds = tick_seconds
        self._bounds = bounds
        self._policy = policy
        self._workers = [_Worker() for _ in range(workers)]
        self._backlog = Backlog()
        self._shares = Shares()
        self._waiting: dict[int, Job] = {}
        self._outcomes: list[Outcome] = []
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._numbers = itertools.count()
        self._tick_rows: list[int] = []

    def run(self, arrivals: Sequence[Wanted]) -> Run:
        now = 0.0
        self._outcomes = [Outcome(wanted) for wanted in arrivals]
        for number, wanted in enumerate(arrivals):
            self._at(wanted.arrival, partial(self._arrive, number))
        while self._events:
            now, _, happen = heapq.heappop(self._events)
            happen(now)
        return Run(self._outcomes, self._tick_rows, now)

    def _at(self, time: float, happen: Callable[[float], None]) -> None:
        heapq.heappush(self._events, (time, next(self._numbers), happen))

    def _arrive(self, number: int, now: float) -> None:
        outcome = self._outcomes[number]
        wanted = outcome.wanted
        answer = decide(wanted, self._backlog, self._costs, len(self._workers), self._bounds, now)
        if isinstance(answer, Refused):
            outcome.fate = "refused"
            return
        outcome.steps, outcome.deadline = answer.steps, answer.deadline
        job = Job(
            id=number,
            client=wanted.client,
            priority=wanted.priority,
            arrival=wanted.arrival,
            due=answer.due,
            deadline=answer.deadline,
            seed=0,
            n=wanted.rows,
            label=None,
            steps=answer.steps,
            guidance=None,
            format="npy",
            layout="whole",
        )
        self._backlog.add(job.priority, job.client, job.row_steps, wanted.size)
        self._waiting[number] = job
        self._shares.arrive(job.client)
        self._at(job.deadline, partial(self._expire, job))
        self._feed(now)

    def _expire(self, job: Job, now: float) -> None:
        """At its deadline a job that still waits in the queue is dropped; those with workers are theirs to drop."""
        if self._waiting.pop(job.id, None) is not None:
            self._end(job, "expired", now)

    def _feed(self, now: float) -> None:
        """Give waiting jobs to workers, first in order first, and wake those that idle."""
        while self._waiting:

            def key(job: Job) -> Key:
                return order_key(job, now, self._shares)

            job = min(self._waiting.values(), key=key)
            chosen = place(job, [worker.jobs.values() for worker in self._workers], key, self._costs.knee)
            if chosen is None:
                break
            worker = self._workers[chosen]
            del self._waiting[job.id]
            self._shares.charge(job.client, job.row_steps)
            worker.jobs[job.id] = job
            worker.shares.arrive(job.client)
            for sample in range(job.n):
                worker.rows[job.id, sample] = Row(
                    job.id, sample, job.client, job.priority, job.arrival, job.due, job.deadline, job.steps, 0
                )
        for worker in self._workers:
            if worker.picked is None:
                self._begin(worker, now)

    def _begin(self, worker: _Worker, now: float) -> None:
        for job in [job for job in worker.jobs.values() if now > job.deadline]:
            if self._outcomes[job.id].started is None:
                self._let_go(worker, job)
                self._end(job, "expired", now)
        if not worker.rows:
            return
        state = State(worker.rows.values(), self._costs.knee, worker.shares, self._costs.calm_rows)
        picked = self._policy(state, now)
        if not picked:  # a broken policy; its rows come out as lost
            return
        worker.picked = picked
        width = sum(row.width for row in picked)
        self._tick_rows.append(width)
        worker.seconds = self._tick_seconds(width)
        for row in picked:
            worker.shares.charge(row.client, row.width)
            outcome = self._outcomes[row.request]
            outcome.started = now if outcome.started is None else outcome.started
        self._at(now + worker.seconds, partial(self._ticked, worker))

    def _ticked(self, worker: _Worker, now: float) -> None:
        picked, worker.picked = worker.picked or [], None
        self._costs.observe(sum(row.width for row in picked), worker.seconds)
        for row in picked:
            if row.done + 1 < row.steps:
                worker.rows[row.request, row.sample] = row._replace(done=row.done + 1)
                continue
            del worker.rows[row.request, row.sample]
            job = worker.jobs[row.request]
            if not any((job.id, sample) in worker.rows for sample in range(job.n)):
                self._let_go(worker, job)
                self._outcomes[job.id].finished = now
                self._end(job, "answered", now)
        self._feed(now)

    def _let_go(self, worker: _Worker, job: Job) -> None:
        del worker.jobs[job.id]
        worker.shares.leave(job.client)
        for sample in range(job.n):
            worker.rows.pop((job.id, sample), None)

    def _end(self, job: Job, fate: Literal["answered", "expired"], now: float) -> None:
        outcome = self._outcomes[job.id]
        outcome.fate = fate
        self._backlog.remove(job.priority, job.client, job.row_steps, outcome.wanted.size)
        self._shares.leave(job.client)


def simulate(
    arrivals: Sequence[Wanted],
    costs: Costs,
    tick_seconds: Callable[[int], float],
    workers: int = 1,
    bounds: Bounds = BOUNDS,
    policy: Policy = pick,
) -> Run:
    """Send requests through a server whose ticks of b rows take `tick_seconds(b)`, until all are done.

    `costs` is what the server believes of its ticks at the start, and is refined as it runs.
    """
    return _Simulation(costs, tick_seconds, workers, bounds, policy).run(arrivals)


def measured(max_rows: int, tick_seconds: Callable[[int], float]) -> Costs:
    """The costs of a server that has seen ticks of all sizes."""
    costs = Costs(max_rows)
    for rows in range(1, max_rows + 1):
        costs.observe(rows, tick_seconds(rows))
    return costs


def traffic(
    mix: Sequence[tuple[int, float]],
    rate: float,
    seconds: float,
    clients: int = 1,
    deadline: float | None = None,
    seed: int = 0,
) -> Iterator[Wanted]:
    """Requests of one image at random moments (Poisson), `rate` per second; `mix` is of (steps, share of requests)."""
    random_numbers = random.Random(seed)
    counts, shares = [steps for steps, _ in mix], [share for _, share in mix]
    now = 0.0
    while (now := now + random_numbers.expovariate(rate)) < seconds:
        steps = random_numbers.choices(counts, shares)[0]
        client = f"client {random_numbers.randrange(clients)}"
        yield Wanted(client, "interactive", 1, [steps], now, deadline)

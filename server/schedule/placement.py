"""Which worker gets a job: pure, for the server and for the simulator."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from server.jobs import PINNED_ROWS, Job
from server.schedule.policy import Key

ROOM_TICKS = 3
"""Ticks of rows that a worker has ahead of a job that it is given: enough that it never waits for the API process and
sees more waiting than makes a full tick (`policy.PRESSURE`), and few enough that the order is decided in the queue,
with all workers to choose from."""


def place(job: Job, held: Sequence[Collection[Job]], key: Callable[[Job], Key], knee: int) -> int | None:
    """Which worker takes a job: the one with the fewest rows ahead of it; None while none has room.

    `held` are the jobs that each worker has, `key` the order now, `knee` the rows of a full tick. Rows behind the job
    in the order take no room: it passes them. Nor do those that fill up the ticks of `bitwise` jobs: others take their
    places. A worker without jobs takes any.
    """
    for number, jobs in enumerate(held):
        if not jobs:
            return number
    if len(held) == 1 and sum([taken.rows for taken in held[0]]) < _room(held[0], knee):
        return 0  # whoever is ahead
    own = key(job)
    best: int | None = None
    least = (0, 0)
    for number, jobs in enumerate(held):
        ahead = sum([taken.rows for taken in jobs if key(taken) < own])
        load = (ahead, sum([taken.row_steps for taken in jobs]))
        if ahead < _room(jobs, knee) and (best is None or load < least):
            best, least = number, load
    return best


def _room(jobs: Collection[Job], knee: int) -> int:
    """Rows that a worker with these jobs has ahead of one that it is given, by the rows that its ticks take."""
    pinned = any(taken.bitwise for taken in jobs)
    return ROOM_TICKS * (max(knee, PINNED_ROWS) if pinned else knee)

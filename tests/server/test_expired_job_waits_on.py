"""Work whose deadline has passed is dropped unrun, wherever it is, and its client is told at once."""

from __future__ import annotations

import asyncio
import time

import pytest

from server.backend.dispatch import Dispatch
from server.jobs import Expired

from .conftest import make_job
from .wires import ROOM, Wire, dispatch, settled


async def busy(jobs: Dispatch) -> Wire:
    """A worker with as many jobs as it gets."""
    wire = Wire(jobs)
    for number in range(1, ROOM + 1):
        await jobs.submit(make_job(number))
    assert len(wire.jobs) == ROOM
    return wire


def test_waiting_job_fails_at_its_deadline() -> None:
    async def scenario() -> None:
        jobs = dispatch()
        wire = await busy(jobs)
        late = await jobs.submit(make_job(70, deadline=time.monotonic() + 0.02))
        patient = await jobs.submit(make_job(80))
        with pytest.raises(Expired, match="deadline passed before it was begun"):
            await late
        assert (jobs.queue.waiting, jobs.queue.backlog.requests) == (1, ROOM + 1)
        for number in range(1, ROOM + 1):
            wire.answer("done", number)
        wire.answer("done", 80)
        assert patient.done()
        assert wire.jobs == [*range(1, ROOM + 1), 80]

    asyncio.run(scenario())


def test_job_that_was_sent_is_the_workers_to_expire() -> None:
    async def scenario() -> None:
        jobs = dispatch()
        wire = Wire(jobs)
        soon = await jobs.submit(make_job(1, deadline=time.monotonic() + 0.01))
        await asyncio.sleep(0.03)
        assert not soon.done()
        wire.answer("expired", 1)
        with pytest.raises(Expired):
            await soon
        assert jobs.queue.running == 0

    asyncio.run(scenario())


def test_job_of_a_dead_worker_that_is_too_late_is_not_run_again() -> None:
    async def scenario() -> None:
        jobs = dispatch()
        wire = Wire(jobs)
        gone = await jobs.submit(make_job(1, deadline=time.monotonic() + 0.01))
        later = await jobs.submit(make_job(2, deadline=time.monotonic() + 0.05))
        patient = await jobs.submit(make_job(3))
        await asyncio.sleep(0.02)
        wire.die()
        await settled()
        with pytest.raises(Expired):
            await gone
        with pytest.raises(Expired):  # no worker comes in its time
            await later
        assert Wire(jobs).jobs == [3]
        assert not patient.done()

    asyncio.run(scenario())


def test_expired_job_of_a_dead_worker_does_not_hold_up_the_rest() -> None:
    """One that was with a dead worker waits for a worker of its own; when it is gone the others need not."""

    async def scenario() -> None:
        jobs = dispatch()
        first = Wire(jobs)
        suspect = await jobs.submit(make_job(1, deadline=time.monotonic() + 0.05))
        first.die()
        second = Wire(jobs)
        jobs.detach(second.worker)
        third = Wire(jobs)
        assert third.jobs == [1]
        await jobs.submit(make_job(2))
        jobs.cancel(1)
        await settled()
        assert third.sent == [("job", 1), ("cancel", 1), ("job", 2)]
        assert suspect.cancelled()

    asyncio.run(scenario())

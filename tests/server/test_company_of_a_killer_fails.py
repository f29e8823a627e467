"""A job that kills its workers fails; jobs that only were with it do not, and nobody waits for an answer in vain."""

from __future__ import annotations

import asyncio

import pytest

from server.backend.dispatch import MAX_DEATHS, Dispatch
from server.backend.queue import MemoryQueue
from server.jobs import Job, JobFailed, Stopped
from server.schedule.admission import Bounds
from server.schedule.costs import Costs

from .conftest import make_job
from .wires import Wire, dispatch, settled


@pytest.mark.parametrize("workers", [1, 2])
def test_company_of_a_killer_is_answered(workers: int) -> None:
    async def scenario() -> None:
        jobs, killer = dispatch(), 3
        answers = {number: await jobs.submit(make_job(number)) for number in range(1, 8)}
        wires = [Wire(jobs) for _ in range(workers)]
        told: set[int] = set()
        deaths = 0
        while not all(answer.done() for answer in answers.values()):
            await settled()
            for place, wire in enumerate(wires):
                if killer in wire.worker.taken:
                    wire.die()
                    deaths += 1
                    wires[place] = Wire(jobs)
                    break
            else:
                wire = next(wire for wire in wires if wire.worker.taken)
                number = next(iter(wire.worker.taken))
                told.add(number)
                wire.answer("done", number)
        assert deaths == MAX_DEATHS
        with pytest.raises(JobFailed, match="died 3 times"):
            await answers.pop(killer)
        assert {number: answer.result().blobs for number, answer in answers.items()} == {
            number: [b"%d" % number] for number in answers
        }
        assert told == set(answers)

    asyncio.run(scenario())


def test_after_a_death_jobs_come_one_by_one_and_then_together_again() -> None:
    async def scenario() -> None:
        jobs = dispatch()
        for number in range(1, 9):
            await jobs.submit(make_job(number))
        wire = Wire(jobs)
        assert wire.jobs == [1, 2, 3, 4, 5, 6]
        wire.die()
        wire = Wire(jobs)
        assert wire.jobs == [1]
        wire.answer("done", 1)
        assert wire.jobs == [1, 2]
        jobs.cancel(2)  # its client went away: it is under suspicion no more
        await settled()
        assert wire.jobs == [1, 2, 3]
        wire.answer("failed", 3, reason="of its own")
        for number in (4, 5):
            wire.answer("done", number)
        assert wire.jobs == [1, 2, 3, 4, 5, 6]
        wire.answer("done", 6)
        assert wire.jobs == [1, 2, 3, 4, 5, 6, 7, 8]

    asyncio.run(scenario())


def test_other_workers_go_on_when_one_dies() -> None:
    async def scenario() -> None:
        jobs = dispatch()
        first, second = Wire(jobs), Wire(jobs)
        answers = {number: await jobs.submit(make_job(number)) for number in range(1, 5)}
        assert (first.jobs, second.jobs) == ([1, 3], [2, 4])
        first.die()
        second.answer("done", 2)
        assert answers[2].done()
        assert second.jobs == [2, 4]  # what was with the dead one runs alone, first of all
        second.answer("done", 4)
        second.answer("done", 1)
        second.answer("done", 3)
        assert all(answer.done() for answer in answers.values())

    asyncio.run(scenario())


def test_job_after_the_end_is_refused() -> None:
    async def scenario() -> None:
        jobs = dispatch()
        waiting = await jobs.submit(make_job(1))
        assert jobs.close("it ends") == 1
        with pytest.raises(Stopped, match="it ends"):
            await waiting
        with pytest.raises(Stopped, match="it ends"):
            await jobs.submit(make_job(2))
        assert jobs.queue.waiting == 0

    asyncio.run(scenario())


def test_answer_that_comes_before_the_queue_has_answered_is_kept() -> None:
    """A queue on another machine may hand a job on before it has told us that it took it."""

    class Slow(MemoryQueue):
        async def put(self, job: Job) -> None:
            await super().put(job)
            await settled()
            wire.answer("done", job.id)

    async def scenario() -> None:
        nonlocal wire
        wire = Wire(jobs)
        assert (await (await jobs.submit(make_job(1)))).blobs == [b"1"]

    wire: Wire
    jobs = Dispatch(Slow(Bounds(9, 9, 9)), Costs(1))
    asyncio.run(scenario())

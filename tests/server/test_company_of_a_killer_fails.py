"""A job that kills its workers fails; jobs that only were with it do not, and nobody waits for an answer in vain."""

from __future__ import annotations

import asyncio

import pytest

from server.backend.dispatch import MAX_DEATHS, Dispatch
from server.backend.queue import MemoryQueue
from server.jobs import Job, JobFailed, Stopped
from server.wire import Frames


class Wire:
    """The transport to a worker; `jobs` are those it was sent."""

    def __init__(self) -> None:
        self._frames = Frames()
        self.jobs: list[int] = []

    def write(self, data: bytes) -> None:
        self.jobs += [header["id"] for header, _ in self._frames.feed(data) if header["op"] == "job"]


def job(number: int) -> Job:
    return Job(number, float(number), 0, 1, 0, 1, None, "png", "whole")


def done(number: int) -> dict[str, object]:
    return {"op": "done", "id": number, "labels": [0], "stages": [0, 0, 0, 0], "ticks": []}


async def attached(dispatch: Dispatch, room: int = 8) -> Wire:
    wire = Wire()
    dispatch.attach(wire, room)  # type: ignore[arg-type]
    await settled()
    return wire


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_company_of_a_killer_is_answered() -> None:
    async def scenario() -> None:
        dispatch, killer = Dispatch(MemoryQueue(9)), 3
        answers = {number: await dispatch.submit(job(number)) for number in range(1, 6)}
        deaths = 0
        while not answers[killer].done():
            wire, seen = await attached(dispatch), 0
            while killer not in wire.jobs:
                for number in wire.jobs[seen:]:
                    dispatch.receive(done(number), [b""])
                seen = len(wire.jobs)
                await settled()
            dispatch.detach()
            deaths += 1
        assert deaths == MAX_DEATHS
        with pytest.raises(JobFailed, match="died 3 times"):
            await answers[killer]
        wire = await attached(dispatch)
        while not all(answer.done() for answer in answers.values()):
            dispatch.receive(done(wire.jobs[-1]), [b""])
            await settled()
        assert [answers[number].exception() for number in (1, 2, 4, 5)] == [None] * 4

    asyncio.run(scenario())


def test_after_a_death_jobs_come_one_by_one_and_then_together_again() -> None:
    async def scenario() -> None:
        dispatch = Dispatch(MemoryQueue(9))
        for number in range(1, 5):
            await dispatch.submit(job(number))
        wire = await attached(dispatch, room=2)
        assert wire.jobs == [1, 2]
        dispatch.detach()
        wire = await attached(dispatch, room=2)
        assert wire.jobs == [1]
        dispatch.receive(done(1), [b""])
        await settled()
        assert wire.jobs == [1, 2]
        dispatch.cancel(2)  # its client went away: it is under suspicion no more
        await settled()
        assert wire.jobs == [1, 2, 3, 4]
        dispatch.detach()

    asyncio.run(scenario())


def test_job_after_the_end_is_refused() -> None:
    async def scenario() -> None:
        dispatch = Dispatch(MemoryQueue(9))
        waiting = await dispatch.submit(job(1))
        assert dispatch.close("it ends") == 1
        with pytest.raises(Stopped, match="it ends"):
            await waiting
        with pytest.raises(Stopped, match="it ends"):
            await dispatch.submit(job(2))
        assert dispatch.queue.waiting == 0

    asyncio.run(scenario())


def test_answer_that_comes_before_the_queue_has_answered_is_kept() -> None:
    """A queue on another machine may hand a job on before it has told us that it took it."""

    class Slow(MemoryQueue):
        async def put(self, job: Job) -> None:
            await super().put(job)
            await settled()
            dispatch.receive(done(job.id), [b""])

    async def scenario() -> None:
        assert (await (await dispatch.submit(job(1)))).blobs == [b""]

    dispatch = Dispatch(Slow(9))
    asyncio.run(scenario())

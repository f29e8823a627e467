"""The contract of a queue, for every implementation: no job lost, none given twice, oldest first, bounded."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from server.backend.queue import MemoryQueue, Queue, QueueFull
from server.jobs import Job

Make = Callable[[int], Queue]


@pytest.fixture(params=[MemoryQueue])
def make(request: pytest.FixtureRequest) -> Make:
    """Makes a queue with room for so many waiting jobs."""
    made: Make = request.param
    return made


def job(number: int, n: int = 1, steps: int = 1) -> Job:
    return Job(number, float(number), 0, n, 0, steps, None, "png", "whole")


def ids(jobs: list[Job]) -> list[int]:
    return [one.id for one in jobs]


def test_oldest_first_and_once(make: Make) -> None:
    async def scenario() -> None:
        queue = make(10)
        for number in range(5):
            await queue.put(job(number))
        assert (queue.waiting, queue.running) == (5, 0)
        assert ids(await queue.take(2)) == [0, 1]
        assert ids(await queue.take(10)) == [2, 3, 4]
        assert (queue.waiting, queue.running) == (0, 5)

    asyncio.run(scenario())


def test_room_counts_samples_but_never_blocks_a_large_job(make: Make) -> None:
    async def scenario() -> None:
        queue = make(10)
        for number, n in enumerate((2, 2, 50, 1)):
            await queue.put(job(number, n))
        assert ids(await queue.take(5)) == [0, 1]
        assert ids(await queue.take(5)) == [2]
        assert ids(await queue.take(5)) == [3]

    asyncio.run(scenario())


def test_full_queue_refuses_and_keeps_what_it_has(make: Make) -> None:
    async def scenario() -> None:
        queue = make(2)
        await queue.put(job(1))
        await queue.put(job(2))
        with pytest.raises(QueueFull):
            await queue.put(job(3))
        assert ids(await queue.take(1)) == [1]
        await queue.put(job(4))
        assert ids(await queue.take(9)) == [2, 4]

    asyncio.run(scenario())


def test_given_back_jobs_come_first_again(make: Make) -> None:
    async def scenario() -> None:
        queue = make(3)
        for number in range(3):
            await queue.put(job(number))
        await queue.take(3)
        queue.done(1)
        for number in range(3, 6):
            await queue.put(job(number))
        queue.give_back([2, 0, 1, 99])
        assert ids(await queue.take(9)) == [0, 2, 3, 4, 5]

    asyncio.run(scenario())


def test_waiting_taker_is_woken(make: Make) -> None:
    async def scenario() -> None:
        queue = make(3)
        taker = asyncio.create_task(queue.take(1))
        await asyncio.sleep(0)
        await queue.put(job(1))
        assert ids(await taker) == [1]
        taker = asyncio.create_task(queue.take(1))
        await asyncio.sleep(0)
        queue.give_back([1])
        assert ids(await taker) == [1]

    asyncio.run(scenario())


def test_dropped_taker_takes_nothing_with_it(make: Make) -> None:
    async def scenario() -> None:
        queue = make(3)
        taker = asyncio.create_task(queue.take(1))
        await asyncio.sleep(0)
        taker.cancel()
        await asyncio.gather(taker, return_exceptions=True)
        await queue.put(job(1))
        assert ids(await queue.take(1)) == [1]

    asyncio.run(scenario())


def test_row_steps_are_those_of_unfinished_jobs(make: Make) -> None:
    async def scenario() -> None:
        queue = make(9)
        await queue.put(job(1, n=2, steps=4))
        await queue.put(job(2, n=1, steps=3))
        assert queue.row_steps == 11
        await queue.take(2)
        assert queue.row_steps == 11
        queue.give_back([1])
        assert queue.row_steps == 11
        queue.done(2)
        queue.done(2)
        assert queue.row_steps == 8
        queue.done(1)
        assert (queue.row_steps, queue.waiting, queue.running) == (0, 0, 0)

    asyncio.run(scenario())

"""The order is kept on the way to the workers: a job goes where least is ahead of it, and passes what is behind it."""

from __future__ import annotations

import asyncio

from server.jobs import PINNED_ROWS
from server.schedule.placement import ROOM_TICKS

from .conftest import make_job
from .wires import ROOM, Wire, dispatch


def test_short_job_goes_past_a_worker_full_of_long_ones() -> None:
    async def scenario() -> None:
        jobs = dispatch()
        wire = Wire(jobs)
        for number in range(1, ROOM + 5):
            await jobs.submit(make_job(number, steps=8, due=100.0 + number))
        first = list(range(1, ROOM + 1))
        assert wire.jobs == first
        await jobs.submit(make_job(50, due=51.0))
        await jobs.submit(make_job(60, steps=8, due=300.0))
        assert wire.jobs == [*first, 50]
        wire.answer("done", 1)
        assert wire.jobs == [*first, 50]  # as many are ahead of the next one still
        wire.answer("done", 50)
        assert wire.jobs == [*first, 50, ROOM + 1]

    asyncio.run(scenario())


def test_job_goes_where_least_is_ahead_of_it() -> None:
    async def scenario() -> None:
        jobs = dispatch()
        one, two, three = Wire(jobs), Wire(jobs), Wire(jobs)
        await jobs.submit(make_job(1, n=ROOM))
        await jobs.submit(make_job(2, steps=8))
        await jobs.submit(make_job(3, steps=2))
        for number in range(4, 8):
            await jobs.submit(make_job(number))
        assert one.jobs == [1]
        # As many rows ahead in both: the one with less work in all gets it.
        assert three.jobs == [3, 4, 6]
        assert two.jobs == [2, 5, 7]

    asyncio.run(scenario())


def test_rows_of_a_wide_job_count() -> None:
    async def scenario() -> None:
        jobs = dispatch()
        wire = Wire(jobs)
        await jobs.submit(make_job(1, n=64))  # larger than the room, and taken all the same
        await jobs.submit(make_job(2))
        assert wire.jobs == [1]
        wire.answer("done", 1)
        assert wire.jobs == [1, 2]

    asyncio.run(scenario())


def test_ticks_make_the_room() -> None:
    """A worker that turns out to gain from larger ticks is given more ahead."""

    async def scenario() -> None:
        jobs = dispatch()
        told = []
        jobs._ticked = lambda rows, seconds, padding: told.append((rows, seconds))
        wire = Wire(jobs)
        for number in range(1, ROOM + 5):
            await jobs.submit(make_job(number))
        assert len(wire.jobs) == ROOM
        for _ in range(50):
            wire.answer("pong", ticks=[[2, 0.002, 0]])  # no gain in a second row
        jobs.hear()
        assert jobs.costs.knee == 1
        for number in range(1, ROOM - ROOM_TICKS + 1):
            wire.answer("done", number)
        assert len(wire.jobs) == ROOM
        wire.answer("done", ROOM)
        assert len(wire.jobs) == ROOM + 1
        assert told == [(2, 0.002)] * 50

    asyncio.run(scenario())


def test_rows_that_only_fill_a_tick_up_keep_nobody_out() -> None:
    async def scenario() -> None:
        jobs = dispatch()
        one, two = Wire(jobs), Wire(jobs)
        await jobs.submit(make_job(1, bitwise=True))
        await jobs.submit(make_job(2, bitwise=True))
        for number in range(3, 3 + 2 * PINNED_ROWS):
            await jobs.submit(make_job(number, bitwise=number % 2 == 0))
        assert len(one.jobs) == len(two.jobs) == 1 + PINNED_ROWS, "they share evaluations of so many rows"
        for number in range(100, 100 + 10 * PINNED_ROWS):
            await jobs.submit(make_job(number))
        assert len(one.jobs) == len(two.jobs) == ROOM_TICKS * PINNED_ROWS, "there is a bound all the same"

    asyncio.run(scenario())

"""The contract of a queue, for every implementation: no job lost, none given twice, the policy's order, its bounds."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

import pytest

from server.backend.queue import SPARE, MemoryQueue, Queue, QueueFull
from server.jobs import Job, Vary
from server.schedule.admission import Bounds
from server.schedule.policy import QUANTUM

from .conftest import make_job

WIDE = Bounds(max_requests=1000, max_row_steps=100_000, max_bytes=2**20)

Make = Callable[[Bounds], Queue]


@pytest.fixture(params=[MemoryQueue])
def make(request: pytest.FixtureRequest) -> Make:
    """Makes a queue with bounds."""
    made: Make = request.param
    return made


def fill(queue: Queue, *jobs: Job) -> None:
    async def put() -> None:
        for job in jobs:
            await queue.put(job)

    asyncio.run(put())


def take(queue: Queue, now: float = 0.0) -> list[int]:
    """Take all that waits."""
    taken = []
    while (job := queue.take(now, lambda job: True)) is not None:
        taken.append(job.id)
    return taken


def test_all_come_once_the_first_due_first(make: Make) -> None:
    queue = make(WIDE)
    fill(queue, make_job(1, due=3.0), make_job(2, due=1.0), make_job(3, due=2.0), make_job(4, due=1.0))
    assert (queue.waiting, queue.running) == (4, 0)
    assert take(queue) == [2, 4, 3, 1]
    assert (queue.waiting, queue.running) == (0, 4)
    assert take(queue) == []


def test_job_that_does_not_fit_is_not_passed(make: Make) -> None:
    """Else a large job would wait for ever behind small ones."""
    queue = make(WIDE)
    fill(queue, make_job(1, n=64), make_job(2))
    assert queue.take(0.0, lambda job: job.n == 1) is None
    assert take(queue) == [1, 2]


def test_batch_waits_for_interactive_until_half_of_its_time_is_gone(make: Make) -> None:
    queue = make(WIDE)
    batch = make_job(1, priority="batch", arrival=0.0, due=0.0, deadline=60.0)
    fill(queue, batch, make_job(2, due=5.0), make_job(3, due=6.0))
    first = queue.take(29.0, lambda job: True)
    assert first is not None
    assert first.id == 2
    assert take(queue, now=31.0) == [1, 3]


@pytest.mark.parametrize("seed", range(5))
def test_taken_job_is_the_first_of_the_order_at_that_moment(make: Make, seed: int) -> None:
    """Places change with time: a batch job gets urgent, and in the last part of its time no job waits for its share."""
    rng = random.Random(seed)
    queue = make(WIDE)
    waiting: dict[int, Job] = {}
    now = 0.0
    for number in range(400):
        now += rng.expovariate(20.0)
        job = make_job(
            number,
            arrival=now,
            due=now + rng.uniform(0.0, 5.0),
            deadline=now + rng.uniform(0.5, 8.0),
            client=rng.choice("abc"),
            priority=rng.choice(["interactive", "interactive", "batch"]),
            steps=rng.choice([1, 8]),
        )
        waiting[number] = job
        fill(queue, job)
        for _ in range(rng.choice([0, 1, 2])):
            first = min(waiting.values(), key=lambda job: queue.key(job, now), default=None)
            assert queue.take(now, lambda job: True) == first
            if first is None:
                break
            del waiting[first.id]
            queue.done(first.id)


def test_client_with_much_work_does_not_hold_up_another(make: Make) -> None:
    queue = make(WIDE)
    greedy = [make_job(number, client="greedy", steps=8) for number in range(100)]
    fill(queue, *greedy, make_job(200, client="modest"))
    taken = take(queue)
    assert taken.index(200) == QUANTUM // 8
    assert [number for number in taken if number != 200] == list(range(100))


@pytest.mark.parametrize(
    ("bounds", "what"),
    [
        (Bounds(2, 1000, 1000), "requests"),
        (Bounds(100, 8, 1000), "row-steps"),
        (Bounds(100, 1000, 200), "bytes"),
    ],
)
def test_full_queue_refuses_and_keeps_what_it_has(make: Make, bounds: Bounds, what: str) -> None:
    queue = make(bounds)
    image = Vary(0.5, bytes(100))
    fill(queue, make_job(1, steps=4, vary=image), make_job(2, steps=4, vary=image))
    with pytest.raises(QueueFull, match=rf"would hold \d+ {what}; its bound is"):
        fill(queue, make_job(3, vary=image))
    assert take(queue) == [1, 2]
    with pytest.raises(QueueFull):  # taken is not done
        fill(queue, make_job(4, vary=image))
    queue.done(1)
    fill(queue, make_job(4, vary=image))
    assert take(queue) == [4]


def test_empty_queue_takes_any_job(make: Make) -> None:
    queue = make(Bounds(1, 1, 1))
    fill(queue, make_job(1, n=64, steps=8, vary=Vary(0.5, bytes(100))))
    assert take(queue) == [1]


def test_given_back_jobs_stand_where_they_stood(make: Make) -> None:
    queue = make(Bounds(3, 1000, 1000))
    fill(queue, *map(make_job, range(3)))
    assert take(queue) == [0, 1, 2]
    queue.done(1)
    fill(queue, make_job(3))
    queue.give_back([2, 0, 1, 99])
    assert (queue.waiting, queue.running) == (3, 0)
    assert take(queue) == [0, 2, 3]


def test_backlog_is_that_of_unfinished_jobs(make: Make) -> None:
    queue = make(WIDE)
    fill(queue, make_job(1, n=2, steps=4, vary=Vary(0.5, bytes(100))), make_job(2, steps=3, priority="batch"))
    assert (queue.backlog.requests, queue.backlog.total, queue.backlog.bytes) == (2, 11, 100)
    take(queue)
    queue.give_back([1])
    assert (queue.backlog.row_steps("interactive"), queue.backlog.row_steps("batch")) == (8, 3)
    assert queue.done(2)
    assert not queue.done(2)
    assert queue.done(1)
    assert (queue.backlog.requests, queue.backlog.total, queue.backlog.bytes) == (0, 0, 0)
    assert (queue.waiting, queue.running) == (0, 0)


def test_taker_is_told_of_what_comes(make: Make) -> None:
    queue = make(WIDE)
    told = []
    queue.on_arrival = lambda: told.append(take(queue))
    fill(queue, make_job(1))
    queue.give_back([1])
    assert told == [[1], [1]]


def test_no_job_is_lost_whatever_happens(make: Make) -> None:
    """Random puts, takes, ends and deaths; in the end every job was done or dropped once, and nothing is left."""
    random_ = random.Random(5)
    queue = make(WIDE)
    taken: set[int] = set()
    waiting: set[int] = set()
    for number in range(2000):
        now = number / 10
        match random_.choice(("put", "put", "take", "take", "done", "drop", "die")):
            case "put":
                priority = random_.choice(("interactive", "batch"))
                due = now + random_.random()
                client = random_.choice("abc")
                fill(queue, make_job(number, due=due, priority=priority, client=client, deadline=now + 60))
                waiting.add(number)
            case "take":
                job = queue.take(now, lambda job: True)
                assert (job is None) == (not waiting)
                if job is not None:
                    waiting.remove(job.id)
                    taken.add(job.id)
            case "done" | "drop" as what:
                some = taken if what == "done" else waiting
                if some:
                    assert queue.done(some.pop())
            case _:
                queue.give_back(list(taken))
                waiting |= taken
                taken.clear()
        assert (queue.waiting, queue.running) == (len(waiting), len(taken))
    assert set(take(queue, now=201.0)) == waiting
    for number in waiting | taken:
        assert queue.done(number)
    assert queue.backlog.total == queue.backlog.requests == 0


def test_jobs_that_left_behind_a_waiting_one_take_no_memory() -> None:
    queue = MemoryQueue(WIDE)
    fill(queue, make_job(1, due=0.0))
    for number in range(2, 5000):
        fill(queue, make_job(number))
        if number % 100:
            queue.done(number)
    (group,) = queue._groups.values()
    assert len(group) < 4 * queue.waiting + 2 * SPARE
    assert take(queue) == [1, *range(100, 5000, 100)]

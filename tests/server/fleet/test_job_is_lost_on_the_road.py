"""The contract of the way from a dispatch to a worker and back, in memory and over Redis: every job ends once."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop

from server.backend.queue import QueueFull
from server.backend.roads import Overtaken
from server.fleet.clock import FleetClock
from server.jobs import Expired, Job, JobFailed, Part, Stopped, Vary
from server.schedule.admission import Bounds

from ..conftest import make_job
from .redis_server import RedisServer
from .roads import KNEE, WIDE, MemoryRoad, RedisRoad, until

Road = MemoryRoad | RedisRoad
ROOM = 3 * KNEE
FULL = (QueueFull, Overtaken)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One Redis for all of them; each has a fleet of its own."""
    made = RedisServer(tmp_path_factory.mktemp("redis"))
    yield made
    made.kill()


Run = Callable[..., None]


@pytest.fixture(params=["memory", "redis"])
def run(request: pytest.FixtureRequest, server: RedisServer, tmp_path: Path) -> Run:
    """Runs a test's coroutine with a road."""

    def run(test: Callable[[Road], Awaitable[None]], bounds: Bounds = WIDE) -> None:
        async def whole() -> None:
            road: Road = MemoryRoad(bounds)
            if request.param == "redis":
                road = RedisRoad(server.url, bounds, lease=60.0, fleet=tmp_path.name[-40:])
            async with road:
                await test(road)
                await until_over(road)

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(whole())

    return run


async def until_over(road: Road) -> None:
    """Whatever happened, nothing is left, and nothing stays counted."""
    deadline = time.monotonic() + 10
    while (load := await road.load()) != (0, 0, 0):
        assert time.monotonic() < deadline, f"left: {load}"
        await asyncio.sleep(0.01)


def job(seed: int, **fields: Any) -> Job:
    return make_job(seed, **{"seed": seed, **fields})


async def error_of(answer: asyncio.Future[Any]) -> BaseException | None:
    await asyncio.wait({answer}, timeout=30)
    return answer.exception()


def test_answer_comes_to_who_asked_once(run: Run) -> None:
    async def test(road: Road) -> None:
        answers = [await road.submit(job(seed)) for seed in range(4)]
        await until(lambda: len(road.worker.jobs) == 4)
        for seed in (2, 0, 3, 1):
            road.worker.answer(seed, labels=[seed])
        results = await asyncio.wait_for(asyncio.gather(*answers), 30)
        assert [result.blobs for result in results] == [[b"picture %d" % seed] for seed in range(4)]
        assert [result.labels for result in results] == [[seed] for seed in range(4)]

    run(test)


def test_job_arrives_as_it_was_asked(run: Run) -> None:
    async def test(road: Road) -> None:
        image = bytes(range(256)) * 12
        asked = [
            job(1, vary=Vary(0.1 + 0.2, image), guidance=1.1, label=None, n=2, client="\N{SNOWMAN}"),
            job(2, steps=2, format="webp", quality=7, priority="batch", bitwise=True, label=3),
        ]
        answers = [await road.submit(one) for one in asked]
        await until(lambda: len(road.worker.jobs) == 2)
        for one in asked:
            came = road.worker.jobs[one.seed]
            for name in ("client", "seed", "n", "label", "steps", "guidance", "format", "quality", "bitwise", "vary"):
                assert getattr(came, name) == getattr(one, name), name
            for name in ("arrival", "due", "deadline"):
                assert getattr(came, name) == pytest.approx(getattr(one, name), abs=1.0)  # to the round trip
            road.worker.answer(one.seed)
        await asyncio.gather(*answers)

    run(test)


def test_jobs_of_one_class_keep_their_order(run: Run) -> None:
    async def test(road: Road) -> None:
        answers = [await road.submit(job(seed, due=float(seed))) for seed in range(40)]
        for seed in range(40):
            await until(lambda seed=seed: seed in road.worker.jobs)
            road.worker.answer(seed)
        await asyncio.gather(*answers)
        assert road.worker.seen == sorted(road.worker.seen)

    run(test)


def test_batch_work_waits_for_interactive(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """One batch job may be on its way to the worker already; no more."""
    # An agent takes batch work once an answer about interactive work could have come: here, on a busy machine too.
    monkeypatch.setattr(FleetClock, "round_trip", 0.3)

    async def test(road: Road) -> None:
        answers = [await road.submit(job(0, n=ROOM))]
        await until(lambda: 0 in road.worker.jobs)
        answers += [await road.submit(job(seed, priority="batch")) for seed in (1, 2, 3)]
        answers += [await road.submit(job(seed)) for seed in range(10, 40)]
        road.worker.answer(0)
        for left in range(30, 0, -1):
            await until(lambda left=left: sum(seed >= 10 for seed in road.worker.jobs) >= min(left, ROOM - 1))
            road.worker.answer(min(seed for seed in road.worker.jobs if seed >= 10))
        batch = [place for place, seed in enumerate(road.worker.seen) if 0 < seed < 10]
        assert len([place for place in batch if place < road.worker.seen.index(39)]) <= 1
        for seed in (1, 2, 3):
            await until(lambda seed=seed: seed in road.worker.jobs)
            road.worker.answer(seed)
        await asyncio.gather(*answers)

    run(test)


@pytest.mark.parametrize(
    "bounds",
    [Bounds(2, 1000, 1000), Bounds(100, 8, 1000), Bounds(100, 1000, 200)],
    ids=["requests", "row-steps", "bytes"],
)
def test_beyond_a_bound_nothing_is_taken(run: Run, bounds: Bounds) -> None:
    async def test(road: Road) -> None:
        image = Vary(0.5, bytes(100))
        answers = [await road.submit(job(seed, steps=4, vary=image)) for seed in (1, 2)]
        with pytest.raises(FULL):
            await road.submit(job(3, vary=image))
        await until(lambda: 1 in road.worker.jobs)
        with pytest.raises(FULL):  # taken is not done
            await road.submit(job(4, vary=image))
        road.worker.answer(1)
        await asyncio.wait_for(answers[0], 30)
        answers.append(await road.submit(job(5, vary=image)))
        for seed in (2, 5):
            await until(lambda seed=seed: seed in road.worker.jobs)
            road.worker.answer(seed)
        await asyncio.gather(*answers)
        assert not {3, 4} & set(road.worker.seen)

    run(test, bounds)


def test_waiting_job_ends_at_its_deadline(run: Run) -> None:
    async def test(road: Road) -> None:
        first = await road.submit(job(0, n=ROOM))
        await until(lambda: 0 in road.worker.jobs)
        now = time.monotonic()
        late = [await road.submit(job(seed, deadline=now + 1.0, n=2)) for seed in (1, 2)]
        for answer in late:
            assert isinstance(await error_of(answer), Expired)
        road.worker.answer(0)
        await first
        last = await road.submit(job(3))
        await until(lambda: 3 in road.worker.jobs)
        road.worker.answer(3)
        await last
        assert road.worker.seen == [0, 3]

    run(test)


def test_job_that_began_in_time_is_finished(run: Run) -> None:
    async def test(road: Road) -> None:
        answer = await road.submit(job(1, deadline=time.monotonic() + 1.0))
        await until(lambda: 1 in road.worker.jobs)
        await asyncio.sleep(1.5)
        assert not answer.done()
        road.worker.answer(1)
        assert (await asyncio.wait_for(answer, 30)).blobs == [b"picture 1"]

    run(test)


def test_unwanted_job_is_dropped_wherever_it_is(run: Run) -> None:
    async def test(road: Road) -> None:
        running, waiting = job(0, n=ROOM), job(1)
        answers = [await road.submit(running), await road.submit(waiting)]
        await until(lambda: 0 in road.worker.jobs)
        road.cancel(waiting)
        road.cancel(running)
        await until(lambda: road.worker.cancelled == [0], "the worker hears that nobody waits")
        assert all(answer.cancelled() for answer in answers)
        last = await road.submit(job(2))
        await until(lambda: 2 in road.worker.jobs)
        road.worker.answer(2)
        await last
        assert road.worker.seen == [0, 2]

    run(test)


def test_jobs_of_a_dead_worker_run_again(run: Run) -> None:
    async def test(road: Road) -> None:
        answers = [await road.submit(job(seed)) for seed in range(8)]
        await until(lambda: len(road.worker.jobs) == ROOM)
        road.worker.answer(0)
        road.replace()
        done = {0}
        while len(done) < 8:
            await until(lambda: road.worker.jobs)
            for seed in list(road.worker.jobs):
                assert seed not in done
                done.add(seed)
                road.worker.answer(seed)
        results = await asyncio.wait_for(asyncio.gather(*answers), 30)
        assert [result.blobs for result in results] == [[b"picture %d" % seed] for seed in range(8)]

    run(test)


def test_job_that_kills_every_worker_fails_and_says_so(run: Run) -> None:
    async def test(road: Road) -> None:
        answers = [await road.submit(job(seed)) for seed in (1, 2)]
        await until(lambda: len(road.worker.jobs) == 2)
        deaths = 0
        deadline = time.monotonic() + 30
        while not all(answer.done() for answer in answers):
            assert time.monotonic() < deadline
            if 1 in road.worker.jobs:
                road.replace()
                deaths += 1
            elif deaths and 2 in road.worker.jobs:
                assert list(road.worker.jobs) == [2]  # no company any more
                road.worker.answer(2)
            await asyncio.sleep(0.002)
        assert deaths == 3
        error = await error_of(answers[0])
        assert isinstance(error, JobFailed)
        assert "died 3 times" in str(error)
        assert (await asyncio.wait_for(answers[1], 30)).blobs == [b"picture 2"]

    run(test)


def test_failure_is_told_to_who_asked(run: Run) -> None:
    async def test(road: Road) -> None:
        answers = [await road.submit(job(seed)) for seed in (1, 2)]
        await until(lambda: len(road.worker.jobs) == 2)
        road.worker.answer(1, "failed", reason="ArithmeticError: poison")
        road.worker.answer(2, "expired")
        error = await error_of(answers[0])
        assert str(error) == "ArithmeticError: poison"
        assert isinstance(await error_of(answers[1]), Expired)

    run(test)


def test_parts_come_in_their_order_before_the_end(run: Run) -> None:
    async def test(road: Road) -> None:
        shown: list[Part] = []
        answer = await road.submit(job(1, steps=4, every_step=True), shown.append)
        await until(lambda: 1 in road.worker.jobs)
        for step in (1, 2, 3):
            road.worker.answer(1, "part", step=step)
        road.worker.answer(1)
        await asyncio.wait_for(answer, 30)
        assert [part.step for part in shown] == [1, 2, 3]
        assert shown[0].blob == b"picture 1"

    run(test)


def test_all_that_wait_are_told_when_nothing_will_be_run(run: Run) -> None:
    async def test(road: Road) -> None:
        answers = [await road.submit(job(seed, n=ROOM)) for seed in range(3)]
        assert road.close("the server was stopped") == 3
        for answer in answers:
            error = await error_of(answer)
            assert isinstance(error, Stopped)
            assert str(error) == "the server was stopped"
        with pytest.raises(Stopped):
            await road.submit(job(9))

    run(test)


def test_whatever_happens_every_job_ends_once(run: Run) -> None:
    """Random ends, deaths and departures; in the end each was answered, failed or dropped, and nothing is left."""

    async def test(road: Road) -> None:
        rng = random.Random(8)
        open_: dict[int, tuple[Job, asyncio.Future[Any]]] = {}
        ended: dict[int, str] = {}
        for seed in range(300):
            one = job(
                seed, priority=rng.choice(["interactive", "batch"]), steps=rng.choice([1, 4]), n=rng.choice([1, 2])
            )
            answer = await road.submit(one)
            open_[seed] = (one, answer)
            answer.add_done_callback(
                lambda done, seed=seed: ended.__setitem__(
                    seed, "dropped" if done.cancelled() else "failed" if done.exception() else "done"
                )
            )
            for _ in range(rng.choice([0, 1, 2])):
                if rng.random() < 0.3:
                    await asyncio.sleep(rng.choice([0.0, 0.002]))
                what = rng.choice(["answer", "answer", "answer", "fail", "drop", "die"])
                if what == "drop" and open_:
                    road.cancel(open_.pop(rng.choice(list(open_)))[0])
                elif what == "die" and rng.random() < 0.05:
                    road.replace()
                elif road.worker.jobs and what in ("answer", "fail"):
                    which = rng.choice(list(road.worker.jobs))
                    if what == "answer":
                        road.worker.answer(which)
                    else:
                        road.worker.answer(which, "failed", reason="it did")
        deadline = time.monotonic() + 60
        while len(ended) < 300:
            assert time.monotonic() < deadline, f"{300 - len(ended)} never ended"
            for seed in list(road.worker.jobs):
                road.worker.answer(seed)
            await asyncio.sleep(0.002)
        assert set(ended) == set(range(300))
        for answer in (answer for _, answer in open_.values()):
            if not answer.cancelled():
                answer.exception()

    run(test)

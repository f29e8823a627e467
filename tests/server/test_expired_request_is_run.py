"""A request whose deadline passed before its first tick is dropped unrun; one that was begun is finished."""

from __future__ import annotations

from pathlib import Path

import pytest

from export.runtime.bundle import open_bundle
from server.worker.ticks import Ticks

from .fake_worker import FakeEngine
from .loopback import Loopback, flat_costs, job


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ticks(images: Path, clock: Clock) -> Ticks:
    return Ticks(FakeEngine(open_bundle(images)), flat_costs(2), clock)


def test_expired_request_is_not_run(ticks: Ticks, clock: Clock) -> None:
    ticks.add(job(1, 4, n=2, deadline=10.0))
    ticks.add(job(2, 1, n=3, deadline=1.0))
    ticks.add(job(3, 1, deadline=20.0))
    first = ticks.run()
    assert (first.rows, first.expired) == (2, [])
    clock.now = 1.5
    second = ticks.run()
    assert [one.id for one in second.expired] == [2]
    assert second.rows == 2
    clock.now = 11.0
    after = [ticks.run() for _ in range(3)]
    assert [done.job.id for tick in (second, *after) for done in tick.finished] == [1, 3]
    assert not any(tick.expired for tick in after), "request 1 is late, but it was begun"
    assert not ticks


def test_tick_of_nothing_but_expired_requests(ticks: Ticks, clock: Clock) -> None:
    ticks.add(job(1, deadline=1.0))
    clock.now = 2.0
    tick = ticks.run()
    assert (tick.rows, [one.id for one in tick.expired], tick.costs) == (0, [1], [])
    assert not ticks


def test_at_its_deadline_it_is_still_run(ticks: Ticks, clock: Clock) -> None:
    ticks.add(job(1, deadline=1.0))
    clock.now = 1.0
    assert [done.job.id for done in ticks.run().finished] == [1]


def test_worker_tells_that_it_expired(images: Path) -> None:
    with Loopback(FakeEngine(open_bundle(images))) as end:
        end.send(job(1, deadline=0.0))
        header, blobs = end.receive()
        assert (header["op"], header["id"], header["ticks"], blobs) == ("expired", 1, [], [])
        end.send(job(2))
        assert end.receive()[0]["op"] == "done"

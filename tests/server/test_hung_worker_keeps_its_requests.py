"""A worker that has work and does not answer is killed, and its requests run again; a slow one is left alone."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from server.backend.dispatch import Dispatch
from server.backend.supervisor import HANG_TICKS, Supervisor
from server.jobs import Expired

from .conftest import Start, make_job
from .wires import KNEE, Wire, dispatch, settled, until

PING = 0.001
"""Seconds between two pings, so that a test need not wait."""


class Doomed:
    """A child process that counts how often it is killed."""

    def __init__(self) -> None:
        self.process = self
        self.kills = 0

    def kill(self) -> None:
        self.kills += 1


class Talkative(Wire):
    """A worker that answers every ping."""

    def write(self, data: bytes) -> None:
        super().write(data)
        if self.sent[-1][0] == "ping":
            self.answer("pong")


def watched(jobs: Dispatch, wire: Wire, hang_seconds: float) -> tuple[Doomed, asyncio.Task[None]]:
    child, unused = Doomed(), Any
    supervisor = Supervisor(child, unused, jobs, unused, hang_seconds, lambda text: None, PING)  # type: ignore[arg-type]
    return child, asyncio.create_task(supervisor._watch(wire.worker))


def test_silent_worker_is_killed_after_so_many_pings() -> None:
    async def scenario() -> None:
        jobs = dispatch()
        jobs.costs.tick_seconds = lambda rows: 1e-9  # type: ignore[method-assign]
        wire = Wire(jobs)
        await jobs.submit(make_job(1))
        child, watching = watched(jobs, wire, 5 * PING)
        await watching
        assert child.kills == 1
        assert sum(op == "ping" for op, _ in wire.sent) == 5

    asyncio.run(scenario())


def test_worker_that_answers_is_left_alone_however_long_its_job_takes() -> None:
    async def scenario() -> None:
        jobs = dispatch()
        wire = Talkative(jobs)
        await jobs.submit(make_job(1))
        child, watching = watched(jobs, wire, 2 * PING)
        await until(lambda: sum(op == "ping" for op, _ in wire.sent) >= 50)
        assert child.kills == 0
        watching.cancel()

    asyncio.run(scenario())


def test_idle_worker_is_neither_asked_nor_killed() -> None:
    async def scenario() -> None:
        jobs = dispatch()
        wire = Wire(jobs)
        child, watching = watched(jobs, wire, 2 * PING)
        await asyncio.sleep(20 * PING)
        assert (child.kills, wire.sent) == (0, [])
        await jobs.submit(make_job(1))  # its long silence does not count against it now
        await asyncio.sleep(0)
        assert child.kills == 0
        watching.cancel()

    asyncio.run(scenario())


def test_worker_with_slow_ticks_has_more_patience() -> None:
    async def scenario() -> None:
        jobs = dispatch()
        jobs.costs.tick_seconds = lambda rows: PING if rows == KNEE else 0.0  # type: ignore[method-assign]
        wire = Wire(jobs)
        await jobs.submit(make_job(1))
        child, watching = watched(jobs, wire, 2 * PING)
        await watching
        await settled()
        assert child.kills == 1
        assert sum(op == "ping" for op, _ in wire.sent) == HANG_TICKS

    asyncio.run(scenario())


def test_client_of_a_silent_worker_is_told_when_its_deadline_has_passed() -> None:
    """Long before the worker is killed; what is not late waits on, for the next worker."""

    async def scenario() -> None:
        jobs = dispatch()
        jobs.costs.tick_seconds = lambda rows: 1e-9  # type: ignore[method-assign]
        wire = Wire(jobs)
        late = await jobs.submit(make_job(1, deadline=time.monotonic() + 2 * PING))
        patient = await jobs.submit(make_job(2))
        child, watching = watched(jobs, wire, 3600.0)
        with pytest.raises(Expired, match="its worker does not answer"):
            await late
        assert (child.kills, patient.done(), len(wire.worker.taken)) == (0, False, 2), "the worker still counts as busy"
        watching.cancel()
        wire.answer("done", 1)  # it comes back
        wire.answer("done", 2)
        assert patient.done()
        assert (jobs.queue.running, wire.worker.taken) == (0, {})

    asyncio.run(scenario())


class Stuck(Wire):
    """A worker whose ticks go on, and whose encoder does not."""

    moving = False

    def write(self, data: bytes) -> None:
        super().write(data)
        pings = sum(op == "ping" for op, _ in self.sent)
        if self.sent[-1][0] == "ping":
            self.answer("pong", writing=True, written=pings if self.moving else 7)


@pytest.mark.parametrize("moving", [False, True])
def test_stuck_encoder_is_a_hang_and_a_slow_one_is_not(moving: bool) -> None:
    async def scenario() -> None:
        jobs = dispatch()
        jobs.costs.tick_seconds = lambda rows: 1e-9  # type: ignore[method-assign]
        wire = Stuck(jobs)
        wire.moving = moving
        await jobs.submit(make_job(1))
        child, watching = watched(jobs, wire, 5 * PING)
        await until(lambda: child.kills or sum(op == "ping" for op, _ in wire.sent) >= 50)
        assert child.kills == (not moving)
        watching.cancel()

    asyncio.run(scenario())


@pytest.mark.parametrize("workers", ["1", "2"])
def test_requests_of_a_hung_worker_are_answered(start: Start, images: Path, workers: str) -> None:
    server = start(images, "--cpu-workers", workers, "--hang-seconds", "1", held=True)
    answers = [server.send(f"/generate?seed={seed}&steps=4") for seed in range(8)]
    server.wait_for("longjump_running", 8)
    hung = server.workers()[0]
    os.kill(hung, signal.SIGSTOP)
    server.open_gate()
    assert [answer.result().status_code for answer in answers] == [200] * 8
    assert hung not in server.workers()
    assert "has said nothing for 1 s" in "".join(server.said)

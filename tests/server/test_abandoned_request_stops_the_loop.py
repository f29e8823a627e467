"""A request whose client does not wait any more disturbs nobody: not the loop, not the worker, not those behind it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from server.jobs import Part

from .conftest import Start, make_job
from .test_disconnect_frees_row import ask_and_leave
from .wires import Wire, dispatch, settled


def test_answer_for_nobody_is_dropped() -> None:
    async def scenario() -> None:
        jobs = dispatch()
        wire = Wire(jobs)
        parts: list[Part] = []
        abandoned = await jobs.submit(make_job(1), parts.append)
        waiting = await jobs.submit(make_job(2))
        abandoned.cancel()  # as a task does that waits for it and is cancelled itself
        for op in ("part", "done", "done", "failed", "expired", "part"):
            wire.answer(op, 1, step=1, reason="it is late")
        wire.answer("done", 99)
        wire.answer("done", 2)
        assert waiting.result().blobs == [b"2"]
        assert (jobs.queue.waiting, jobs.queue.running) == (0, 0)

    asyncio.run(scenario())


def test_answer_that_crosses_its_cancel_is_dropped() -> None:
    async def scenario() -> None:
        jobs = dispatch()
        wire = Wire(jobs)
        first, second = await jobs.submit(make_job(1)), await jobs.submit(make_job(2))
        first.cancel()
        jobs.cancel(1)
        await settled()
        wire.answer("done", 1)  # it was on its way
        wire.answer("done", 2)
        assert second.done()

    asyncio.run(scenario())


def test_clients_that_leave_in_the_middle_of_a_tick_are_no_trouble(start: Start, images: Path) -> None:
    server = start(images, "--cpu-workers", "2", held=True)
    targets = ["/generate?seed=1&steps=4", "/generate?seed=2&n=9", "/generate?seed=3&steps=4&stream=every"]
    leaving = [ask_and_leave(server, target) for target in targets]
    server.wait_for("longjump_running", len(leaving))
    for connection in leaving:
        connection.close()
    server.wait_for("longjump_running", 0)
    behind = [server.send(f"/generate?seed={seed}") for seed in range(8)]
    server.open_gate()
    assert [answer.result().status_code for answer in behind] == [200] * 8
    assert server.metric("longjump_worker_restarts_total") == 0

"""A server that has been up does not end because, for a while, no process can be started."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable
from typing import Any

import pytest

from server.backend import supervisor as module
from server.backend.supervisor import MAX_FAILED_STARTS, Child, Supervisor, WorkerRefused
from server.wire import pack

from .conftest import make_job
from .wires import Wire, dispatch, until

HELLO = {"op": "hello", "startup": {}, "started": 0.0}
REFUSED = {"op": "refused", "reason": "it is broken", "missing": None}


class Played(Child):
    """A child process that says one thing, and ends when its test says so."""

    def __init__(self, says: dict[str, Any]) -> None:
        self.spawned = 0.0
        self.socket, self.theirs = socket.socketpair()
        self._transport: asyncio.Transport | None = None
        self._held = self._ended = False
        self.theirs.sendall(pack(says))

    def die(self) -> None:
        self.theirs.close()

    async def end(self, patience: float = 0.0) -> int:
        if self._transport is not None:
            self._transport.close()
        self.theirs.close()
        return -9


def no_more() -> Played:
    raise OSError(errno.EMFILE, "Too many open files")


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pauses between attempts."""
    monkeypatch.setattr(module, "MAX_PAUSE", 0.0)


def supervise(first: Played, *then: Callable[[], Played]) -> tuple[Supervisor, asyncio.Task[None], list[str]]:
    attempts, said = iter(then), list[str]()
    jobs = dispatch()
    supervisor = Supervisor(
        first,  # type: ignore[arg-type]
        lambda: next(attempts)(),  # type: ignore[arg-type,return-value]
        jobs,
        lambda hello: None,
        30.0,
        said.append,
    )
    return supervisor, asyncio.create_task(supervisor.run()), said


def test_spawning_is_tried_until_it_works() -> None:
    async def scenario() -> None:
        first, second = Played(HELLO), Played(HELLO)
        supervisor, running, said = supervise(first, *[no_more] * 3 * MAX_FAILED_STARTS, lambda: second)
        await supervisor.ready.wait()
        answer = await supervisor._dispatch.submit(make_job(1))
        first.die()
        await until(lambda: second._transport is not None and supervisor.up)
        assert sum("Too many open files; trying again" in text for text in said) == 3 * MAX_FAILED_STARTS
        second.theirs.setblocking(False)
        assert second.theirs.recv(2**16)  # the job again
        await supervisor.stop()
        await running
        assert not answer.done()

    asyncio.run(scenario())


def test_first_start_without_descriptors_is_an_error() -> None:
    async def scenario() -> None:
        first = Played(REFUSED)
        supervisor, running, _ = supervise(first)
        with pytest.raises(WorkerRefused, match="it is broken"):
            await running
        assert not supervisor.ready.is_set()

    asyncio.run(scenario())


def test_worker_that_is_broken_ends_the_server_if_it_is_the_only_one() -> None:
    async def scenario() -> None:
        first = Played(HELLO)
        supervisor, running, said = supervise(first, *[lambda: Played(REFUSED)] * MAX_FAILED_STARTS)
        await supervisor.ready.wait()
        first.die()
        with pytest.raises(WorkerRefused, match="it is broken"):
            await running
        assert sum("trying again" in text for text in said) == MAX_FAILED_STARTS - 1

    asyncio.run(scenario())


def test_worker_that_is_broken_is_tried_again_while_another_works() -> None:
    async def scenario() -> None:
        first, last = Played(HELLO), Played(HELLO)
        refusals = [lambda: Played(REFUSED)] * 2 * MAX_FAILED_STARTS
        supervisor, running, _ = supervise(first, *refusals, lambda: last)
        await supervisor.ready.wait()
        Wire(supervisor._dispatch)  # the other one
        first.die()
        await until(lambda: last._transport is not None and supervisor.up)
        await supervisor.stop()
        await running

    asyncio.run(scenario())

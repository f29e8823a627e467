"""The worker process's life: start it, greet it, start another when it dies, end it.

Jobs that a dead worker had go back into the queue (`server.backend.dispatch`), so a kill -9 loses none.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import site
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from server.wire import Frames

if TYPE_CHECKING:
    from server.backend.dispatch import Dispatch
    from server.backend.model import Model

MAX_FAILED_STARTS = 3
"""Starts in a row that may fail after the first worker was up; then the server ends."""

END_SECONDS = 5.0
"""How long a worker gets to exit after its socket is closed, before it is killed."""

Spawn = Callable[[], "Child"]


class WorkerRefused(ValueError):
    """No worker can be brought up; the message says why, for the person who started the server."""


class Child:
    """One worker process and our end of its socket."""

    def __init__(self, command: Sequence[str]) -> None:
        """Start `command` with `--fd N` added. Needs no event loop, so that it can be the first thing done."""
        self.spawned = time.monotonic()
        self.socket, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                [*command, "--fd", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env=worker_environment(),
            )
        self.transport: asyncio.Transport | None = None
        """Set once an event loop holds the socket."""

    async def end(self, patience: float = END_SECONDS) -> int:
        """Close the connection, which tells the worker to exit, and return its status.

        Kill it if it is still there after `patience` seconds: it may be inside a network evaluation.
        """
        if self.transport is not None:
            self.transport.close()
        self.socket.close()
        deadline = time.monotonic() + patience
        while self.process.poll() is None:
            if time.monotonic() > deadline:
                self.process.kill()
            await asyncio.sleep(0.005)
        return self.process.returncode

    def kill(self) -> None:
        """End the process at once. For when no event loop runs."""
        self.socket.close()
        self.process.kill()
        self.process.wait()


WORKER = (sys.executable, "-P", "-m", "server.worker.process")
"""How a worker process is started. -P: nothing in the current folder can shadow our packages."""


def worker_command(worker: Sequence[str], bundle: Path, threads: int, max_rows: int) -> list[str]:
    """The whole command of a worker process, but for its socket."""
    return [*worker, "--bundle", str(bundle), "--threads", str(threads), "--max-rows", str(max_rows)]


def worker_environment() -> dict[str, str]:
    """The environment in which a worker process finds our packages, installed or in a source folder."""
    home = str(Path(__file__).resolve().parent.parent)
    if home in map(os.path.realpath, site.getsitepackages()):
        return dict(os.environ)
    path = [home, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path)}


class Link(asyncio.Protocol):
    """The event loop's side of a worker's socket."""

    def __init__(self, receive: Callable[[dict[str, Any], list[bytes]], None]) -> None:
        loop = asyncio.get_running_loop()
        self._receive = receive
        self._frames = Frames()
        self.greeting: asyncio.Future[dict[str, Any]] = loop.create_future()
        """The worker's first frame; ConnectionError if it dies before."""
        self.lost: asyncio.Future[None] = loop.create_future()

    def data_received(self, data: bytes) -> None:
        for header, blobs in self._frames.feed(data):
            if self.greeting.done():
                self._receive(header, blobs)
            else:
                self.greeting.set_result(header)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.greeting.done():
            self.greeting.set_exception(ConnectionError())
        if not self.lost.done():
            self.lost.set_result(None)


class Supervisor:
    """Keeps one worker up."""

    def __init__(
        self,
        child: Child,
        spawn: Spawn,
        dispatch: Dispatch,
        read_hello: Callable[[dict[str, Any]], Model],
        room: int,
        say: Callable[[str], None],
    ) -> None:
        self._child = child
        self._spawn = spawn
        self._dispatch = dispatch
        self._read_hello = read_hello
        self._room = room
        self._say = say
        self.model: Model | None = None
        """What is served; None until the first worker is warm."""
        self.up = False
        """Whether a warm worker is connected."""
        self.on_restart: Callable[[], None] = lambda: None
        self.ready = asyncio.Event()
        """Set when the first worker is warm."""
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Keep a worker up until `stop`.

        Raises WorkerRefused when none can be brought up, at once if it is the first; ModuleNotFoundError if a worker
        lacks a package.
        """
        failures = 0
        while True:
            try:
                link, transport, model = await self._greet(self._child)
            except WorkerRefused as refused:
                await self._child.end()
                if self._stopping.is_set():
                    return
                failures += 1
                if self.model is None or failures >= MAX_FAILED_STARTS:
                    raise
                self._say(f"the worker did not start again: {refused}; trying again")
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), 0.2 * 2**failures)
                    return
                self._child = self._spawn()
                continue
            failures = 0
            self.model, self.up = model, True
            self._dispatch.attach(transport, self._room)
            self.ready.set()
            await link.lost
            self.up = False
            self._dispatch.detach()
            status = await self._child.end()
            if self._stopping.is_set():
                return
            self._say(f"the worker process ended ({describe(status)}); starting another, no request is lost")
            self.on_restart()
            self._child = self._spawn()

    async def stop(self, patience: float = END_SECONDS) -> None:
        """End the worker, killed after `patience` seconds; `run` returns."""
        self._stopping.set()
        await self._child.end(patience)

    async def _greet(self, child: Child) -> tuple[Link, asyncio.Transport, Model]:
        """Connect to a new worker and wait until it is warm; WorkerRefused if it cannot serve."""
        loop = asyncio.get_running_loop()
        child.socket.setblocking(False)
        transport, link = await loop.create_connection(lambda: Link(self._dispatch.receive), sock=child.socket)
        child.transport = transport
        try:
            hello = await link.greeting
        except ConnectionError:
            status = await child.end()
            raise WorkerRefused(
                f"the worker process ended while it started ({describe(status)}); its messages are above"
            ) from None
        if hello["op"] == "refused":
            if hello["missing"]:
                raise ModuleNotFoundError(hello["reason"], name=hello["missing"])
            raise WorkerRefused(hello["reason"])
        hello["startup"]["process"] = hello["started"] - child.spawned
        model = self._read_hello(hello)
        if self.model is not None and model.fingerprint != self.model.fingerprint:
            raise WorkerRefused(
                f"{model.name} has the fingerprint {model.fingerprint}, it had {self.model.fingerprint}: the bundle or "
                "its runtime was changed while it was served; start the server again to serve the new one"
            )
        return link, transport, model


def describe(status: int) -> str:
    """A process's exit status in words."""
    if status < 0:
        with contextlib.suppress(ValueError):
            return f"killed by {signal.Signals(-status).name}"
    return f"exit code {status}"

"""The worker process's life: start it, greet it, start another when it dies, end it.

Jobs that a dead worker had go back into the queue (`server.backend.dispatch`), so a kill -9 loses none.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import site
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from server.wire import Frames, pack

if TYPE_CHECKING:
    from server.backend.dispatch import Attached, Dispatch

MAX_FAILED_STARTS = 3
"""Starts in a row that may fail after the first worker was up; then, if no other worker is up, the server ends."""

END_SECONDS = 5.0
"""How long a worker gets to exit after its socket is closed, before it is killed."""

PING_SECONDS = 1.0
"""How often a worker that has work is asked whether it lives."""

HANG_TICKS = 20
"""A worker is not taken for hung before so many of its largest ticks would be over, however slow they are."""

LATE_TICKS = 3
"""A worker that is silent for so many of its largest ticks, and for two pings, is no reason any more to let clients
wait whose deadline has passed."""

MAX_PAUSE = 5.0
"""Seconds between two attempts to start a worker, at most."""

_TUNABLES = "GLIBC_TUNABLES"

HUGE_PAGES = "glibc.malloc.hugetlb=1"
"""Ask the kernel for huge pages where it gives them on request: every network evaluation reads all weights, and looking
up their small pages costs a few per cent of it. Other C libraries do not know the variable."""

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
            try:
                self.process = subprocess.Popen(
                    [*command, "--fd", str(theirs.fileno())],
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    env=worker_environment(),
                )
            except OSError:
                self.socket.close()
                raise
        self._transport: asyncio.Transport | None = None
        self._held = self._ended = False
        """Whether an event loop holds the socket, or is about to; whether the process shall exit."""

    async def connect(self) -> Link:
        """Give the socket to the running event loop."""
        self.socket.setblocking(False)
        self._held = True
        transport, link = await asyncio.get_running_loop().create_connection(Link, sock=self.socket)
        self._transport = transport
        if self._ended:  # in the meantime
            transport.close()
        return link

    async def end(self, patience: float = END_SECONDS) -> int:
        """Close the connection, which tells the worker to exit, and return its status.

        Kill it if it is still there after `patience` seconds: it may be inside a network evaluation.
        """
        self._ended = True
        if self._transport is not None:
            self._transport.close()
        if not self._held:
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


def worker_command(
    worker: Sequence[str],
    bundle: Path,
    threads: int,
    max_rows: int,
    cost_cache: Path | None = None,
    engine: str | None = None,
    precision: str | None = None,
    gpu: str | None = None,
) -> list[str]:
    """The whole command of a worker process, but for its socket.

    `cost_cache` None: the user's cache folder; `engine` and `precision` None: the best that runs; `gpu` None: the
    first.
    """
    chosen = {"--cost-cache": cost_cache, "--engine": engine, "--precision": precision, "--gpu": gpu}
    options = [text for flag, value in chosen.items() if value is not None for text in (flag, str(value))]
    return [*worker, "--bundle", str(bundle), "--threads", str(threads), "--max-rows", str(max_rows), *options]


def bundle_name(folder: Path) -> str | None:
    """The name in a bundle's manifest, which nobody has checked yet; None if it cannot be read."""
    try:
        return str(json.loads((folder / "manifest.json").read_bytes())["name"])
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None  # its worker says what is wrong with it


def worker_environment() -> dict[str, str]:
    """The environment in which a worker process finds our packages, installed or in a source folder, and in which
    glibc keeps its weights in huge pages (`HUGE_PAGES`), unless the user tunes glibc."""
    own = {_TUNABLES: HUGE_PAGES, **os.environ}
    home = str(Path(__file__).resolve().parents[2])
    if home not in map(os.path.realpath, site.getsitepackages()):
        own["PYTHONPATH"] = os.pathsep.join([home, *filter(None, [os.environ.get("PYTHONPATH")])])
    return own


class Link(asyncio.Protocol):
    """The event loop's side of a worker's socket."""

    _transport: asyncio.WriteTransport | None = None

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.receive: Callable[[dict[str, Any], list[bytes]], None] = lambda header, blobs: None
        """Called with every frame after the first."""
        self._frames = Frames()
        self.greeting: asyncio.Future[dict[str, Any]] = loop.create_future()
        """The worker's first frame; ConnectionError if it dies before."""
        self.lost: asyncio.Future[None] = loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)

    def write(self, data: bytes) -> None:
        """Send without waiting. To a worker that is gone nothing is sent: its jobs are given back when that is told."""
        # Between the end of the socket and the supervisor's taking note the loop turns, and uvloop's transport raises.
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def data_received(self, data: bytes) -> None:
        for header, blobs in self._frames.feed(data):
            if self.greeting.done():
                self.receive(header, blobs)
            else:
                self.greeting.set_result(header)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.greeting.done():
            self.greeting.set_exception(ConnectionError())
        if not self.lost.done():
            self.lost.set_result(None)


class Supervisor:
    """Keeps one worker of a line up."""

    def __init__(
        self,
        child: Child,
        spawn: Spawn,
        dispatch: Dispatch,
        accept: Callable[[dict[str, Any]], None],
        hang_seconds: float,
        say: Callable[[str], None],
        ping_seconds: float = PING_SECONDS,
    ) -> None:
        """`child` is the first worker, already started; `spawn` starts the next ones.

        `accept` takes a worker's hello, and raises WorkerRefused if it is not one to work with. `hang_seconds`: a
        worker that has work and says nothing for so long is killed.
        """
        self._child = child
        self._spawn = spawn
        self._dispatch = dispatch
        self._accept = accept
        self._hang_seconds = hang_seconds
        self._ping_seconds = ping_seconds
        self._say = say
        self.up = False
        """Whether a warm worker is connected."""
        self.on_restart: Callable[[], None] = lambda: None
        self.ready = asyncio.Event()
        """Set when the first worker is warm."""
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Keep a worker up until `stop`.

        Raises WorkerRefused when none can be brought up: at once if it is the first, after MAX_FAILED_STARTS if no
        other worker of the line is up either. ModuleNotFoundError if a worker lacks a package.
        """
        failures = refusals = 0
        while True:
            try:
                if self.ready.is_set():
                    self._child = self._spawn()
                link = await self._greet(self._child)
            # OSError: there is no process, memory or descriptor to be had now, which says nothing about the worker.
            except (WorkerRefused, OSError) as error:
                await self._child.end()
                if self._stopping.is_set():
                    return
                refusals = refusals + 1 if isinstance(error, WorkerRefused) else 0
                if not self.ready.is_set() or (refusals >= MAX_FAILED_STARTS and not self._dispatch.workers):
                    raise
                failures += 1
                self._say(f"the worker did not start again: {error}; trying again")
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), min(MAX_PAUSE, 0.2 * 2**failures))
                    return
            else:
                failures = refusals = 0
                await self._serve(link)
                status = await self._child.end()
                if self._stopping.is_set():
                    return
                self._say(f"the worker process ended ({describe(status)}); starting another, no request is lost")
                self.on_restart()

    async def stop(self, patience: float = END_SECONDS) -> None:
        """End the worker, killed after `patience` seconds; `run` returns."""
        self._stopping.set()
        await self._child.end(patience)

    async def _greet(self, child: Child) -> Link:
        """Connect to a new worker and wait until it is warm; WorkerRefused if it cannot serve."""
        link = await child.connect()
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
        self._accept(hello)
        return link

    async def _serve(self, link: Link) -> None:
        """Work with a warm worker until its connection is lost."""
        self.up = True
        worker = self._dispatch.attach(link)
        link.receive = lambda header, blobs: self._dispatch.receive(worker, header, blobs)
        self.ready.set()
        watching = asyncio.get_running_loop().create_task(self._watch(worker))
        try:
            await link.lost
        finally:
            watching.cancel()
            self.up = False
            self._dispatch.detach(worker)

    async def _watch(self, worker: Attached) -> None:
        """Kill a worker that has work and does not answer: between ticks it answers every ping.

        Silence is counted in pings of ours, not in seconds of a clock: after this process was stopped for a while, the
        worker's answers are still unread.
        """
        silent = 0
        while True:
            await asyncio.sleep(self._ping_seconds)
            silent = 0 if worker.heard or not worker.taken else silent + 1
            worker.heard = False
            if not worker.taken:
                continue
            costs = self._dispatch.costs
            tick = costs.tick_seconds(costs.max_rows)
            patience = max(self._hang_seconds, HANG_TICKS * tick)
            if max(silent, worker.stuck) * self._ping_seconds >= patience:
                what = "said nothing" if silent > worker.stuck else "encoded nothing"
                self._say(f"the worker process has {what} for {patience:g} s while it had work; killing it")
                self._child.process.kill()
                return
            if silent > 2 and silent * self._ping_seconds >= LATE_TICKS * tick:
                self._dispatch.give_up_late(worker)
            worker.wire.write(_PING)


_PING = pack({"op": "ping"})


def describe(status: int) -> str:
    """A process's exit status in words."""
    if status < 0:
        with contextlib.suppress(ValueError):
            return f"killed by {signal.Signals(-status).name}"
    return f"exit code {status}"

"""What is served: one line for each bundle, and how one version of a bundle takes the place of another."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from server.backend.line import Line, Setup
from server.backend.model import Model
from server.backend.supervisor import END_SECONDS, Child, WorkerRefused, bundle_name
from server.jobs import Stopped

RETIRE_SECONDS = 10.0
"""How long a replaced line stays at least: requests that were read while it was current may be on their way to it."""


class AlreadyLoading(Exception):
    """A bundle of this name is being loaded."""


class Lines:
    """The lines of one server, in the order they were named; the first is the default. Lives on one event loop."""

    shared = False

    def __init__(self, lines: Sequence[Line], setup: Setup, retire_seconds: float = RETIRE_SECONDS) -> None:
        self.lines = tuple(lines)
        """The current ones: those that new requests go to."""
        self.draining = False
        """Set when the server stops: it finishes what it has accepted, and is not ready any more."""
        self.http_seconds = 0.0
        """From the start of `longjump serve` to its listening, workers or not."""
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Raises when no worker can be brought up for a current line."""
        self._setup = setup
        self._retire_seconds = retire_seconds
        self._loading: set[str] = set()
        self._retired: list[Line] = []
        self._running = {line: self._start(line) for line in lines}
        self._retiring: set[asyncio.Task[None]] = set()

    @property
    def models(self) -> list[Model]:
        """The models of the lines that have been ready, the default one first."""
        return [line.model for line in self.lines if line.model is not None]

    @property
    def complete(self) -> bool:
        """Whether every bundle has had a warm worker, so that `models` is all there will be."""
        return len(self.models) == len(self.lines)

    @property
    def up(self) -> bool:
        """Whether every bundle has a warm worker now."""
        return all(line.up for line in self.lines)

    @property
    def lacking(self) -> str:
        """While it is not up: why, in words for a person."""
        return f"a worker is {'being replaced' if self.complete else 'starting'}"

    def find(self, model: Model) -> Line:
        """The line that serves exactly this model: the current one, or one that was replaced after `models` was read.

        Raises Stopped if that was long ago.
        """
        for line in (*self.lines, *self._retired):
            served = line.model
            if served is not None and (served.name, served.fingerprint) == (model.name, model.fingerprint):
                return line
        raise Stopped(f"{model.name} was replaced by another version; ask again")

    async def ready(self) -> None:
        """Wait until every worker has been warm once."""
        await asyncio.gather(*(line.ready.wait() for line in self.lines))

    async def load(self, folder: Path) -> Line:
        """Serve the bundle in `folder` from now on, in place of the one of the same name or beside the others.

        Its workers start and warm up beside what runs. Then new requests go to the new line; the old one finishes what
        it has, and ends. If anything fails nothing has changed: raises WorkerRefused, ModuleNotFoundError or OSError;
        AlreadyLoading; Stopped when the server ends.
        """
        name = bundle_name(folder) or str(folder)
        if self.draining:
            raise Stopped("the server is stopping")
        if name in self._loading:
            raise AlreadyLoading(f"{name} is being loaded already; wait until that is done")
        self._loading.add(name)
        try:
            line = Line(self._spawn(folder), folder, self._setup)
            self._running[line] = self._start(line)
            try:
                await self._warm(line)
                self._flip(line)
            except BaseException:
                await self._end(line)
                raise
        finally:
            self._loading.discard(name)
        return line

    def close(self, reason: str) -> int:
        """Fail every request that is still waiting; return how many there were."""
        return sum(line.dispatch.close(reason) for line in self._running)

    async def stop(self, patience: float = END_SECONDS) -> None:
        """End all workers, killed after `patience` seconds."""
        for task in self._retiring:
            task.cancel()
        await asyncio.gather(*(self._end(line, patience) for line in tuple(self._running)))

    def _spawn(self, folder: Path) -> list[Child]:
        children: list[Child] = []
        try:
            for number in range(self._setup.workers):
                children.append(Child(self._setup.command(folder, number)))
        except OSError:
            for child in children:
                child.kill()
            raise
        return children

    def _start(self, line: Line) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(line.run())
        task.add_done_callback(lambda done: self._over(line, done))
        return task

    def _over(self, line: Line, done: asyncio.Task[None]) -> None:
        """A line runs no more. If it ended by an error, nobody shall wait for it."""
        if done.cancelled() or done.exception() is None:
            return
        line.dispatch.close("no worker could be started")
        if line in self.lines and not self.failed.done():
            self.failed.set_exception(done.exception())  # type: ignore[arg-type]

    async def _warm(self, line: Line) -> None:
        """Wait until a new line is ready, or raise why it never will be."""
        ready = asyncio.ensure_future(line.ready.wait())
        try:
            await asyncio.wait({self._running[line], ready}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ready.cancel()
        if not line.ready.is_set():
            self._running[line].result()
            raise WorkerRefused("the server stopped while the bundle was loaded")

    def _flip(self, new: Line) -> None:
        """Send new requests to a ready line."""
        assert new.model is not None
        name = new.model.name
        old = next((line for line in self.lines if line.model is not None and line.model.name == name), None)
        if old is None:
            self.lines += (new,)
            return
        self.lines = tuple(new if line is old else line for line in self.lines)
        self._retired.append(old)
        task = asyncio.get_running_loop().create_task(self._retire(old))
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    async def _retire(self, line: Line) -> None:
        """End a replaced line when it has nothing more to do."""
        await asyncio.sleep(self._retire_seconds)
        await line.dispatch.idle()
        self._retired.remove(line)
        await self._end(line)

    async def _end(self, line: Line, patience: float = END_SECONDS) -> None:
        """End a line's workers; a second time does nothing."""
        running = self._running.get(line)
        await line.stop(patience)
        if running is not None:
            await asyncio.wait({running})
            self._running.pop(line, None)

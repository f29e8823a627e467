"""A line: one bundle's way from admission over its queue to its worker processes and back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from server.backend.dispatch import Dispatch
from server.backend.model import Model, read_hello
from server.backend.queue import MemoryQueue, Queue
from server.backend.supervisor import END_SECONDS, Child, Supervisor, WorkerRefused
from server.jobs import CancelStage, Priority
from server.schedule.admission import DEADLINES, Admitted, Bounds, Refused, Wanted, decide
from server.schedule.costs import Costs
from server.wire import MAX_FRAME


class Observer(Protocol):
    """Who counts what happens to workers."""

    def ticked(self, model: str, rows: int, seconds: float, padding: int) -> None:
        """A worker of a bundle ran a tick of `rows` rows, and `padding` more for nobody."""

    def restarted(self, model: str) -> None:
        """A worker of a bundle died and is being replaced."""

    def cancelled(self, stage: CancelStage) -> None:
        """The last client of some work left, and the work was dropped."""


@dataclass(frozen=True)
class Setup:
    """What all lines of a server have in common."""

    command: Callable[[Path, int], Sequence[str]]
    """The command of a worker for a bundle's folder; the number says which of its line's workers it is."""
    workers: int
    """Worker processes of each line."""
    max_rows: int
    bounds: Bounds
    """Of each line's queue."""
    deadline: float
    """Seconds that an interactive request has which names no deadline."""
    hang_seconds: float
    observer: Observer
    say: Callable[[str], None]
    """Tells the person who started the server."""


class Line:
    """One bundle's way from admission to the reply."""

    max_reply = MAX_FRAME

    def __init__(self, children: Sequence[Child], folder: Path, setup: Setup) -> None:
        """`children` are its workers, already started."""
        self._setup = setup
        self.queue: Queue = MemoryQueue(setup.bounds)
        self.dispatch = Dispatch(self.queue, Costs(setup.max_rows), self._ticked, setup.observer.cancelled)
        self.model: Model | None = None
        """What is served; None until the first worker is warm."""
        self.ready = asyncio.Event()
        """Set when every worker was warm once."""

        def spawn(number: int) -> Callable[[], Child]:
            return lambda: Child(setup.command(folder, number))

        self.supervisors = tuple(
            Supervisor(child, spawn(number), self.dispatch, self._accept, setup.hang_seconds, setup.say)
            for number, child in enumerate(children)
        )
        for supervisor in self.supervisors:
            supervisor.on_restart = self._restarted

    @property
    def up(self) -> bool:
        """Whether a warm worker is there now."""
        return self.dispatch.workers > 0

    @property
    def workers_wanted(self) -> int:
        """Workers that there should be."""
        return len(self.supervisors)

    def admit(self, wanted: Wanted, now: float) -> Admitted | Refused:
        """Whether a request is let in, by what is admitted already and what ticks cost; `now` of time.monotonic()."""
        dispatch, deadline = self.dispatch, self.default_deadline(wanted.priority)
        return decide(wanted, self.queue.backlog, dispatch.costs, dispatch.workers, self.queue.bounds, now, deadline)

    def default_deadline(self, priority: Priority) -> float:
        """Seconds that a request of a class has which names no deadline."""
        return self._setup.deadline if priority == "interactive" else DEADLINES[priority]

    def capacity(self) -> dict[str, Any]:
        """What the line can do and has to do: its entry in /v1/capacity."""
        self.dispatch.hear()
        costs, backlog, bounds = self.dispatch.costs, self.queue.backlog, self.queue.bounds
        workers = self.dispatch.workers
        pace = costs.row_seconds / max(1, workers)
        classes: tuple[Priority, ...] = ("interactive", "batch")
        return {
            "model": self.model.name if self.model is not None else None,
            "workers": workers,
            "measured": costs.known,
            "rows_per_second": workers / costs.row_seconds,
            "rows_per_tick": costs.knee,
            "tick_seconds": {str(rows): costs.tick_seconds(rows) for rows in range(1, costs.max_rows + 1)},
            "predicted_wait_seconds": {priority: backlog.ahead_of("", priority, 1) * pace for priority in classes},
            "waiting": self.queue.waiting,
            "running": self.queue.running,
            "row_steps": {priority: backlog.row_steps(priority) for priority in classes},
            "bytes": backlog.bytes,
            "bounds": {
                "requests": bounds.max_requests,
                "row_steps": bounds.max_row_steps,
                "bytes": bounds.max_bytes,
            },
        }

    async def run(self) -> None:
        """Keep the workers up until `stop`; raises what the first supervisor raises that cannot."""
        tasks = [asyncio.ensure_future(supervisor.run()) for supervisor in self.supervisors]
        getting_ready = asyncio.ensure_future(self._get_ready())
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in (*tasks, getting_ready):
                task.cancel()
            await asyncio.gather(*tasks, getting_ready, return_exceptions=True)

    async def stop(self, patience: float = END_SECONDS) -> None:
        """End the workers, killed after `patience` seconds; `run` returns."""
        await asyncio.gather(*(supervisor.stop(patience) for supervisor in self.supervisors))

    async def _get_ready(self) -> None:
        for supervisor in self.supervisors:
            await supervisor.ready.wait()
        self.ready.set()

    def _accept(self, hello: dict[str, Any]) -> None:
        """Take in what a worker says of itself; WorkerRefused if it is not what the line serves."""
        model = read_hello(hello)
        if self.model is None:
            self.model = model
            if hello["warning"]:
                self._setup.say(f"warning: {model.name}: {hello['warning']}")
            with contextlib.suppress(ValueError):  # then ticks will tell
                self.dispatch.costs = Costs.from_dict(hello["costs"], self._setup.max_rows)
        elif model.fingerprint != self.model.fingerprint:
            raise WorkerRefused(
                f"{model.name} has the fingerprint {model.fingerprint}, it had {self.model.fingerprint}: the bundle or "
                "its runtime was changed while it was served; start the server again to serve the new one"
            )

    def _ticked(self, rows: int, seconds: float, padding: int) -> None:
        if self.model is not None:
            self._setup.observer.ticked(self.model.name, rows, seconds, padding)

    def _restarted(self) -> None:
        if self.model is not None:
            self._setup.observer.restarted(self.model.name)

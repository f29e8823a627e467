"""What is served: one line for each bundle, each with its own queue and worker process."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from server.backend.dispatch import Dispatch
from server.backend.model import Model
from server.backend.queue import Queue
from server.backend.supervisor import Supervisor


@dataclass(frozen=True)
class Line:
    """One bundle's way from admission to the reply."""

    queue: Queue
    dispatch: Dispatch
    supervisor: Supervisor


class Lines:
    """The lines of one server, in the order they were named; the first is the default."""

    def __init__(self, lines: Sequence[Line]) -> None:
        self.lines = tuple(lines)
        self.draining = False
        """Set when the server stops: it finishes what it has accepted, and is not ready any more."""
        self.http_seconds = 0.0
        """From the start of `longjump serve` to its listening, workers or not."""

    @property
    def models(self) -> list[Model]:
        """The models whose workers have been ready, the default one first."""
        return [line.supervisor.model for line in self.lines if line.supervisor.model is not None]

    @property
    def complete(self) -> bool:
        """Whether every bundle's worker has been ready once, so that `models` is all there will be."""
        return len(self.models) == len(self.lines)

    @property
    def up(self) -> bool:
        """Whether every bundle has a warm worker now."""
        return all(line.supervisor.up for line in self.lines)

    def find(self, model: Model) -> Line:
        """The line that serves a model of `models`."""
        return next(line for line in self.lines if line.supervisor.model and line.supervisor.model.name == model.name)

    async def ready(self) -> None:
        """Wait until every worker has been warm once."""
        await asyncio.gather(*(line.supervisor.ready.wait() for line in self.lines))

    def close(self, reason: str) -> int:
        """Fail every request that is still waiting; return how many there were."""
        return sum(line.dispatch.close(reason) for line in self.lines)

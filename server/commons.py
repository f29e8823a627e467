"""What API processes have in common beside their work: of a fleet, in its Redis (`server.fleet.commons`); of one server
alone, in its memory (`Alone`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from server.errands.store import OwnStore
from server.http.once import OwnAnswers

if TYPE_CHECKING:
    from server.errands.store import Bounds, Store
    from server.http.cache import Beyond
    from server.http.limits import Limiter, Limits
    from server.http.once import Answers


class Commons(Protocol):
    """What is shared."""

    @property
    def cache(self) -> Beyond | None:
        """Answers beyond those that the process itself keeps."""

    @property
    def answers(self) -> Answers:
        """Answers by Idempotency-Key."""

    @property
    def errands(self) -> Store:
        """The jobs of POST /jobs."""

    def limiter(self, local: Limits) -> Limiter:
        """What counts requests, where `local` would do it for this process."""

    async def close(self) -> None:
        """Let go of it."""


class Alone:
    """Of a process that shares nothing."""

    cache = None

    def __init__(self, bounds: Bounds) -> None:
        """`bounds` are those of jobs."""
        self.answers = OwnAnswers()
        self.errands = OwnStore(bounds)

    def limiter(self, local: Limits) -> Limiter:
        """See Commons."""
        return local

    async def close(self) -> None:
        """See Commons."""

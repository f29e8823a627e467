"""What an API process does with its jobs' entries in Redis: adds them, takes them back, finds out which are gone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from redis.exceptions import ResponseError

from server.fleet.codec import job_fields
from server.fleet.connection import Away, Redis, refusal
from server.fleet.keys import Keys
from server.fleet.line import FleetLine
from server.fleet.pipe import Pipe
from server.fleet.roster import LIFE_SECONDS
from server.fleet.scripts import script
from server.jobs import CancelStage, Job, Stopped

LOOKED_FOR = 64
"""Jobs that one script looks for."""

CONTROL_SECONDS = 60.0
"""How long an agent may take to hear that nobody waits for an entry any more."""

State = Literal[b"removed", b"held", b"gone"]
"""What became of an entry that is taken back: it is; an agent has it, and keeps it; it is over, or lost."""


@dataclass(eq=False)
class Sent:
    """A job that is given to Redis."""

    line: FleetLine
    job: Job
    size: int
    entry: bytes | None = None
    """Its id in the stream, once that is known."""

    @property
    def queue(self) -> tuple[str, str, str]:
        """The keys of its queue."""
        return self.line.keys.queue(self.line.model.fingerprint, self.job.priority)


SentT = TypeVar("SentT", bound=Sent)


class Entries:
    """The entries of one API process."""

    def __init__(
        self,
        redis: Redis,
        pipe: Pipe,
        keys: Keys,
        api: str,
        cancelled: Callable[[CancelStage], None],
    ) -> None:
        """`api` is this process's name in the fleet; `cancelled` is told where work was that nobody waits for."""
        self._redis = redis
        self._pipe = pipe
        self._keys = keys
        self._api = api
        self._cancelled = cancelled

    async def add(self, sent: Sent, late: Callable[[], None], forced: bool = False) -> bool:
        """Add a job's entry to its stream; False if there is no room any more.

        Raises Stopped if Redis does not take it, at the job's deadline at the latest. `late` is called if it takes it
        after that all the same. `forced`: it was admitted before.
        """
        job, line, bounds = sent.job, sent.line, sent.line.bounds
        now = time.monotonic()
        most = min(line.most_ahead(job, now), 1e15)
        life = int(1000 * (max(0.0, job.deadline - now) + LIFE_SECONDS))
        call = self._pipe.call_made(
            lambda: script(
                "admit",
                sent.queue,
                *(job.priority, job.row_steps, sent.size),
                *(bounds.max_requests, bounds.max_row_steps, bounds.max_bytes, int(most)),
                *(life, int(forced)),
                *job_fields(job, self._api, sent.size, self._redis.clock),
            )
        )
        try:
            await asyncio.wait({call}, timeout=max(0.05, job.deadline - now))
        except BaseException:  # also where Redis answered in the same moment
            call.add_done_callback(lambda done: _came_in(sent, done, late))
            raise
        if not call.done():
            call.add_done_callback(lambda done: _came_in(sent, done, late))
            raise Stopped(f"Redis at {self._redis.shown} did not take the request before its deadline")
        try:
            entry, *load = call.result()
        except Away as away:
            raise Stopped(str(away)) from None
        except ResponseError as error:
            raise Stopped(f"Redis at {self._redis.shown} did not take the request: {refusal(error)}") from None
        line.survey(*load)
        if entry is None:
            return False
        sent.entry = entry
        return True

    async def take_back(self, sent: Sent, forced: bool = False) -> tuple[State, float]:
        """Take back an entry that no agent has, or with `forced` from its agent too.

        Gives what became of it, and the seconds since the last sign of life of an agent that has it. Raises Away and
        ResponseError.
        """
        state, *more = await self._take_back(sent, forced)
        return state, more[1] / 1000 if more else 0.0

    async def withdraw(self, sent: Sent) -> None:
        """Take back an entry that nobody waits for, or tell the agent that has it."""
        try:
            state, *more = await self._take_back(sent)
            if state == b"held":
                self._cancelled("running")
                control = self._keys.control(more[0].decode())
                place = ("work", sent.queue[0], "entry", sent.entry or b"")  # streams number their entries alike
                await asyncio.gather(
                    self._pipe.call("XADD", control, "MAXLEN", "~", 10_000, "*", *place),
                    self._pipe.call("PEXPIRE", control, int(1000 * CONTROL_SECONDS)),
                )
            elif state == b"removed":
                self._cancelled("waiting")
        except (Away, ResponseError):
            return  # it ends by its deadline, or is done for nobody

    async def missing(self, sent: Sequence[SentT]) -> Sequence[SentT]:
        """Those of them that Redis has no more. Raises Away and ResponseError."""
        by_stream: dict[str, dict[bytes, SentT]] = {}
        for one in sent:
            if one.entry is not None:
                by_stream.setdefault(one.queue[0], {})[one.entry] = one
        gone: list[SentT] = []
        for stream, entries in by_stream.items():
            ids = list(entries)
            for first in range(0, len(ids), LOOKED_FOR):
                found = await self._pipe.call(*script("missing", [stream], *ids[first : first + LOOKED_FOR]))
                gone += (entries[entry] for entry in found)
        return gone

    async def _take_back(self, sent: Sent, forced: bool = False) -> Any:
        assert sent.entry is not None
        own = (sent.job.priority, sent.entry, sent.job.row_steps, sent.size)
        return await self._pipe.call(*script("withdraw", sent.queue, *own, int(forced)))


def _came_in(sent: Sent, done: asyncio.Future[Any], late: Callable[[], None]) -> None:
    """Redis took a job after all."""
    if not done.cancelled() and done.exception() is None and done.result()[0] is not None:
        sent.entry = done.result()[0]
        late()

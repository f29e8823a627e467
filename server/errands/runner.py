"""Runs errands: takes a few out of the store, asks the desk for them like any client, and writes down how they end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from server.errands.errand import End
from server.errands.store import Store, Taken, Unreachable
from server.errands.tally import Tally
from server.http import problem, reply
from server.http.ask import Ask, read, settle
from server.http.departure import Stays
from server.http.generate import content_of, represented
from server.http.once import Reply
from server.http.plan import Visit
from server.http.problem import Problem

if TYPE_CHECKING:
    from server.backend.roads import Roads
    from server.http.desk import Desk

PARALLEL = 16
"""Errands that one process asks the desk for at once."""

MAX_ATTEMPTS = 3
"""Processes that may be given an errand and not end it, before it is taken for the cause and fails."""

TAKE_SECONDS = 1.0
"""How often a process looks for errands that others were given and nobody runs."""

AGAIN_SECONDS = (0.2, 30.0)
"""How soon at the earliest, and how late at the latest, an errand that found no room is tried again; between them after
as long as the refusal says, or a quarter of its age."""

INSIST_SECONDS = 60.0
"""How long a process tries to write an end down."""

LOG = logging.getLogger("longjump")


class _NotNow(Exception):
    """An errand is to be tried again after so many seconds. It does not wait in this process: others may go on."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds


class Runner:
    """Of one process."""

    def __init__(
        self, store: Store, desk: Desk, lines: Roads, max_images: int, tally: Tally, ended: Callable[[], None]
    ) -> None:
        """`ended` is called when an errand has ended here."""
        self._tally = tally
        self._store = store
        self._desk = desk
        self._lines = lines
        self._max_images = max_images
        self._ended = ended
        self._running: dict[str, asyncio.Task[None]] = {}
        self._ending: set[str] = set()
        """Of those, the ones whose end is on its way: that it is written may be seen before it is answered."""
        self._wake = asyncio.Event()
        self._changed = asyncio.Event()

    def wake(self) -> None:
        """There may be something to take."""
        self._wake.set()

    def cancel(self, errand_id: str) -> None:
        """Stop an errand, if it runs here; it has ended otherwise."""
        task = self._running.get(errand_id)
        if task is not None and errand_id not in self._ending:
            task.cancel()

    async def run(self) -> None:
        """Take and keep, until cancelled."""
        kept = time.monotonic()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(TAKE_SECONDS, self._store.lease / 3)):
                    await self._wake.wait()
            self._wake.clear()
            with contextlib.suppress(Unreachable):
                if time.monotonic() - kept >= self._store.lease / 4:
                    kept = time.monotonic()
                    await self._keep()
                await self._take()

    async def close(self, patience: float) -> int:
        """Take no more that others can run, finish what was taken within `patience` seconds, and hand back the rest:
        how many are lost."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                while self._running or self._store.only_here:
                    self._changed.clear()
                    await self._changed.wait()
        left = dict(self._running)
        for task in left.values():
            task.cancel()
        await asyncio.gather(*left.values(), return_exceptions=True)
        with contextlib.suppress(Unreachable):
            await self._store.leave(tuple(left))
        return self._store.only_here

    async def _keep(self) -> None:
        if self._running:
            for lost in await self._store.keep(tuple(self._running)):
                self.cancel(lost)

    async def _take(self) -> None:
        room = PARALLEL - len(self._running)
        if room < 1 or not self._lines.complete or not self._lines.models:
            return  # nobody knows yet what could be asked for
        if self._lines.draining and self._store.lasting:
            return  # others will run it
        for taken in await self._store.take(room):
            if taken.errand.id in self._running:
                continue  # this process stood still for longer than the lease, and nobody else came
            task = asyncio.get_running_loop().create_task(self._carry(taken))
            self._running[taken.errand.id] = task
            self._tally.running = len(self._running)
            task.add_done_callback(lambda done, one=taken.errand.id: self._over(one, done))  # type: ignore[misc]

    def _over(self, errand_id: str, done: asyncio.Task[None]) -> None:
        self._running.pop(errand_id, None)
        self._ending.discard(errand_id)
        self._tally.running = len(self._running)
        if not done.cancelled() and done.exception() is not None:
            LOG.error("an error while a job was run", exc_info=done.exception())
        self._wake.set()
        self._changed.set()

    async def _carry(self, taken: Taken) -> None:
        """Bring an errand to its end."""
        errand = taken.errand
        until = time.monotonic() + errand.seconds - taken.age
        result: Reply | None = None
        try:
            if taken.attempts > MAX_ATTEMPTS:
                raise problem.failed(f"this job was begun {MAX_ATTEMPTS} times and never ended: its servers died")
            end, result = await self._make(taken, until)
        except _NotNow as wait:
            await self._leave(errand.id, wait.seconds)
            return
        except Problem as error:
            end = End("failed", problem=error.document())
        except Exception:
            LOG.exception("an error while a job was run")
            end = End(
                "failed", problem=problem.failed("an error of the server's own; its log has the details").document()
            )
        self._ending.add(errand.id)
        if await _insist(lambda: self._store.end(errand.id, end, result)):
            self._tally.ended[end.state] += 1
            self._ended()

    async def _leave(self, errand_id: str, seconds: float) -> None:
        with contextlib.suppress(Unreachable):  # then the lease ends
            await self._store.leave([errand_id], seconds)
        asyncio.get_running_loop().call_later(seconds, self._wake.set)

    async def _make(self, taken: Taken, until: float) -> tuple[End, Reply]:
        """The result of an errand. Raises Problem, and _NotNow."""
        errand = taken.errand
        now = time.monotonic()
        try:
            plan = settle(read(Ask, [(errand.fields, True)], self._lines.models, self._max_images))
            plan, as_json = represented(plan, errand.as_json)
            if now >= until:
                raise problem.expired("its deadline passed before it was begun")
            answer = await self._desk.answer(plan, Visit(errand.client, errand.priority, now, until - now), Stays())
        except Problem as refused:
            if not _passing(refused):
                raise
            if time.monotonic() >= until:
                raise problem.expired(f"its deadline passed before it was begun: {refused.detail}") from None
            least, most = AGAIN_SECONDS
            pause = max(least, taken.age / 4, refused.extra.get("retry_after_seconds", 0.0))
            # At the deadline once more, to say what was in its way.
            raise _NotNow(min(pause, most, max(0.0, until - time.monotonic()))) from None
        body, media_type = content_of(plan, answer, as_json)
        if len(body) > self._store.bounds.largest:
            detail = (
                f"the result has {len(body)} bytes, and {self._store.bounds.largest} are kept; ask for fewer images"
            )
            raise Problem(500, "result-too-large", "The result is too large", detail)
        headers = ((b"content-type", media_type.encode()), *reply.used(plan, answer))
        about = {**reply.about(plan, answer.steps), "media_type": media_type, "bytes": len(body)}
        return End("done", result=about), Reply(200, headers, body)


def _passing(refused: Problem) -> bool:
    """Whether it may be different a little later: there is no room now, or nobody who serves the model now."""
    no_model = any(error.get("field") == "model" for error in refused.extra.get("errors", ()))
    return refused.status in (429, 503) or no_model


async def _insist(work: Callable[[], Awaitable[bool]]) -> bool:
    """Do it until the store has it; of a process that does not come through, others take the errand over."""
    until, pause = time.monotonic() + INSIST_SECONDS, AGAIN_SECONDS[0]
    while True:
        try:
            return await work()
        except Unreachable as error:
            if time.monotonic() > until:
                LOG.error("the end of a job could not be written down: %s", error)
                return False
            await asyncio.sleep(pause)
            pause *= 2

"""What an API process has asked of a fleet: jobs that are in Redis, who waits for each, and how each ends.

A job that Redis lost is given to it again: jobs are complete and deterministic, so one that runs twice does no harm,
and its second answer finds nobody who waits.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from redis.exceptions import ResponseError

from server.backend.dispatch import OnPart
from server.backend.queue import job_bytes
from server.backend.roads import Overtaken
from server.fleet.codec import TOO_LATE, Answer, needs
from server.fleet.connection import Away, Redis
from server.fleet.entries import Entries, Sent
from server.fleet.keys import Keys
from server.fleet.line import FleetLine
from server.fleet.pipe import Pipe
from server.fleet.replies import read_replies
from server.jobs import CancelStage, Expired, Job, JobFailed, Result, Stopped

AGAIN_SECONDS = 1.0
"""Between two looks at a job that is late."""

SETTLE_SECONDS = 0.5
"""From the return of Redis to the search for what it lost: answers that it kept are read first."""


@dataclass(eq=False, kw_only=True)
class _Asked(Sent):
    """A job that somebody waits for."""

    answer: asyncio.Future[Result]
    on_part: OnPart | None
    shown: int = 0
    """The step of the latest part."""
    timer: asyncio.TimerHandle | None = None
    gone: bool = False
    """Whether it was not found in Redis when it was last looked for."""


class InFlight:
    """All jobs of one API process that are in Redis."""

    def __init__(
        self,
        redis: Redis,
        pipe: Pipe,
        keys: Keys,
        api: str,
        cancelled: Callable[[CancelStage], None] = lambda stage: None,
    ) -> None:
        """`api` is this process's name in the fleet; `cancelled` is told where work was that nobody waits for."""
        self._redis = redis
        self._entries = Entries(redis, pipe, keys, api, cancelled)
        self._stream = keys.reply(api)
        self._asked: dict[str, _Asked] = {}
        self._closed: str | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._settling = False
        """Whether a search is about to begin."""
        self._searching = asyncio.Lock()

    def __len__(self) -> int:
        """Jobs that somebody waits for."""
        return len(self._asked)

    async def submit(self, line: FleetLine, job: Job, on_part: OnPart | None = None) -> asyncio.Future[Result]:
        """Put a job into a line's queue; the future gives its Result or raises JobFailed.

        Raises Overtaken if there is no room for it any more, and Stopped if there is nobody to run it or Redis does not
        take it, at the job's deadline at the latest.
        """
        if self._closed is not None:
            raise Stopped(self._closed)
        if not line.up:
            raise Stopped(line.lacking)
        if needs(job) > line.reads:
            there = ", ".join(line.versions)
            raise Stopped(f"some workers of {line.model.name} are too old for this request ({there}); upgrade them")
        # Before the job is in the queue: its answer may be here before Redis' own.
        answer: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        asked = _Asked(line, job, job_bytes(job), answer=answer, on_part=on_part)
        self._asked[str(job.id)] = asked
        try:
            await self._put(asked)
        except BaseException:
            self._forget(asked)
            raise
        return answer

    def cancel(self, job_id: int) -> None:
        """Drop a job that nobody waits for any more. Its future is cancelled."""
        asked = self._asked.get(str(job_id))
        if asked is not None:
            self._forget(asked)
            asked.answer.cancel()
            self._withdraw(asked)

    def close(self, reason: str) -> int:
        """Fail all that is waited for with Stopped(reason), and take what does come; how many there were."""
        self._closed = reason
        left = list(self._asked.values())
        for asked in left:
            self._end(asked, Stopped(reason))
            self._withdraw(asked)
        return len(left)

    async def settle(self, patience: float) -> None:
        """Let what was begun go on for at most so many seconds; then drop it."""
        if self._tasks:
            await asyncio.wait(tuple(self._tasks), timeout=patience)
        for task in self._tasks:
            task.cancel()

    async def read(self) -> None:
        """Take in answers until cancelled."""
        await read_replies(self._redis, self._stream, self._take, self.search)

    def search(self) -> None:
        """Redis may have lost its memory: look for every job that is waited for, and give it those that are gone."""
        if self._asked and not self._settling:
            self._settling = True
            self._begin(self._search())

    def _take(self, answer: Answer) -> None:
        """Take in one answer."""
        asked = self._asked.get(answer.number)
        if asked is None:
            return  # a second answer, or nobody waits any more
        if answer.load is not None:
            asked.line.survey(*answer.load)
        match answer.op:
            case "part":
                self._show(asked, answer)
            case "done":
                self._end(asked, answer.result())
            case "expired":
                self._end(asked, Expired(answer.told["reason"]))
            case _:
                self._end(asked, JobFailed(answer.told["reason"]))

    @staticmethod
    def _show(asked: _Asked, answer: Answer) -> None:
        part = answer.part()
        if asked.on_part is not None and part.step > asked.shown:  # a job that began anew shows its steps again
            asked.shown = part.step
            asked.on_part(part)

    async def _put(self, asked: _Asked, forced: bool = False) -> None:
        """Add a job's entry to its stream. Raises Overtaken and Stopped."""
        job = asked.job
        if not await self._entries.add(asked, lambda: self._withdraw(asked), forced):
            raise Overtaken(asked.line.refusal(job, asked.size, time.monotonic()))
        if str(job.id) not in self._asked:
            if asked.answer.cancelled() or asked.answer.exception() is not None:
                self._withdraw(asked)  # in the meantime nobody waits any more
        elif asked.timer is None:
            self._look_later(asked, max(0.0, job.deadline - time.monotonic()))

    def _look_later(self, asked: _Asked, seconds: float) -> None:
        asked.timer = asyncio.get_running_loop().call_later(seconds, lambda: self._begin(self._look(asked)))

    async def _look(self, asked: _Asked) -> None:
        """A job's deadline has passed: it ends, unless an agent is at work on it."""
        if str(asked.job.id) not in self._asked:
            return
        try:
            state, idle = await self._entries.take_back(asked)
            if state == b"held" and idle > 3 * asked.line.lease:
                await self._entries.take_back(asked, forced=True)
                self._end(asked, Expired("its deadline passed, and the worker that had it does not answer"))
                return
        except (Away, ResponseError) as error:
            self._end(asked, Stopped(str(error)))
            return
        if state == b"removed":
            self._end(asked, Expired(TOO_LATE))
        elif state == b"gone" and asked.gone:
            self._end(asked, Stopped("the request was lost: Redis holds neither it nor its answer"))
        else:
            asked.gone = state == b"gone"
            self._look_later(asked, AGAIN_SECONDS)

    def _withdraw(self, asked: _Asked) -> None:
        """Nobody waits for it any more."""
        if asked.entry is not None:
            self._begin(self._entries.withdraw(asked))

    async def _search(self) -> None:
        await asyncio.sleep(SETTLE_SECONDS)
        self._settling = False
        async with self._searching:  # two at once would each give the same jobs again
            try:
                missing = await self._entries.missing(tuple(self._asked.values()))
            except (Away, ResponseError):
                return  # Redis will be back once more, or each job is looked for at its deadline
            await asyncio.gather(*map(self._put_again, missing))

    async def _put_again(self, asked: _Asked) -> None:
        """Give a job that Redis lost to it once more."""
        if str(asked.job.id) in self._asked:
            try:
                await self._put(asked, forced=True)
            except (Overtaken, Stopped) as error:
                self._end(asked, Stopped(f"the request was lost: {error}"))

    def _end(self, asked: _Asked, outcome: Result | JobFailed) -> None:
        self._forget(asked)
        if asked.answer.done():
            return
        if isinstance(outcome, Result):
            asked.answer.set_result(outcome)
        else:
            asked.answer.set_exception(outcome)

    def _forget(self, asked: _Asked) -> None:
        self._asked.pop(str(asked.job.id), None)
        if asked.timer is not None:
            asked.timer.cancel()

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

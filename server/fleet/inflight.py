"""What an API process has asked of a fleet: jobs that are in Redis, who waits for each, and the answers that come back.

A job that Redis lost is given to it again: jobs are complete and deterministic, so one that runs twice does no harm,
and its second answer finds nobody who waits.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from redis.exceptions import ResponseError

from server.backend.dispatch import OnPart
from server.backend.queue import job_bytes
from server.backend.roads import Overtaken
from server.fleet.clock import FleetClock
from server.fleet.codec import Answer, Unreadable, job_fields, read_answer
from server.fleet.connection import Away, Pause, Redis, refusal
from server.fleet.keys import Keys
from server.fleet.line import FleetLine
from server.fleet.pipe import Pipe
from server.fleet.roster import LIFE_SECONDS
from server.fleet.scripts import Command, script
from server.jobs import CancelStage, Expired, Job, JobFailed, Result, Stopped

BLOCK_SECONDS = 5.0
"""How long one read waits for answers."""

READ_ANSWERS = 64
"""Answers that one read takes at most."""

READ_PATIENCE = 10.0
"""Seconds for what is read to come over a slow link."""

TURNS = 3
"""Turns of the loop in which what was read goes on its way to its clients, before more is asked for."""

AGAIN_SECONDS = 1.0
"""Between two looks at a job that is late."""

SETTLE_SECONDS = 0.5
"""From the return of Redis to the search for what it lost: answers that it kept are read first."""

LOOKED_FOR = 64
"""Jobs that one script looks for."""

CONTROL_SECONDS = 60.0
"""How long an agent may take to hear that nobody waits for an entry any more."""

TOO_LATE = "its deadline passed before it was begun"

LOG = logging.getLogger("longjump")


@dataclass(eq=False)
class _Asked:
    """A job that somebody waits for."""

    line: FleetLine
    job: Job
    size: int
    answer: asyncio.Future[Result]
    on_part: OnPart | None
    entry: bytes | None = None
    """Its id in the stream, once that is known."""
    shown: int = 0
    """The step of the latest part."""
    timer: asyncio.TimerHandle | None = None
    gone: bool = False
    """Whether it was not found in Redis when it was last looked for."""

    @property
    def queue(self) -> tuple[str, str, str]:
        """The keys of its queue."""
        return self.line.keys.queue(self.line.model.fingerprint, self.job.priority)

    @property
    def place(self) -> tuple[str, str, str, bytes]:
        """Fields that name its entry: streams number theirs alike."""
        assert self.entry is not None
        return "work", self.queue[0], "entry", self.entry

    def script(self, name: str, forced: bool = False) -> tuple[Any, ...]:
        """A command about its entry."""
        assert self.entry is not None
        own = (self.job.priority, self.entry, self.job.row_steps, self.size)
        return script(name, self.queue, *own, int(forced))


class InFlight:
    """All jobs of one API process that are in Redis."""

    def __init__(
        self,
        redis: Redis,
        pipe: Pipe,
        keys: Keys,
        clock: FleetClock,
        api: str,
        cancelled: Callable[[CancelStage], None] = lambda stage: None,
    ) -> None:
        """`api` is this process's name in the fleet; `cancelled` is told where work was that nobody waits for."""
        self._redis = redis
        self._pipe = pipe
        self._keys = keys
        self._clock = clock
        self._api = api
        self._cancelled = cancelled
        self._asked: dict[str, _Asked] = {}
        self._closed: str | None = None
        self._tasks: set[asyncio.Task[None]] = set()

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
            raise Stopped(f"no worker serves {line.model.name} now")
        # Before the job is in the queue: its answer may be here before Redis' own.
        answer: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        asked = self._asked[str(job.id)] = _Asked(line, job, job_bytes(job), answer, on_part)
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
            if asked.entry is not None:
                self._begin(self._withdraw(asked))

    def close(self, reason: str) -> int:
        """Fail all that is waited for with Stopped(reason), and take what does come; how many there were."""
        self._closed = reason
        left = list(self._asked.values())
        for asked in left:
            self._end(asked, Stopped(reason))
            if asked.entry is not None:
                self._begin(self._withdraw(asked))
        return len(left)

    async def settle(self, patience: float) -> None:
        """Let what was begun go on for at most so many seconds; then drop it."""
        if self._tasks:
            await asyncio.wait(tuple(self._tasks), timeout=patience)
        for task in self._tasks:
            task.cancel()

    async def read(self) -> None:
        """Take in answers until cancelled."""
        stream = self._keys.reply(self._api)
        channel, pause, lost = self._redis.channel(), Pause(), False
        taken: list[bytes] = []
        block, count = int(1000 * BLOCK_SECONDS), READ_ANSWERS
        try:
            while True:
                # Always from the beginning: what was taken in is deleted, and a Redis that lost its memory may count
                # from a lower number again.
                read = ("XREAD", "COUNT", count, "BLOCK", block, "STREAMS", stream, "0-0")
                delete: list[Command] = [("XDEL", stream, *taken)] if taken else []
                try:
                    found = (await channel.call(*delete, read, patience=BLOCK_SECONDS + READ_PATIENCE))[-1]
                except Away:
                    count, lost = 1, True  # the link may be too slow for many at once
                    await pause.wait()
                    continue
                taken = []
                if isinstance(found, ResponseError):
                    LOG.error("answers cannot be read from Redis: %s", found)
                    await pause.wait()
                    continue
                pause.reset()
                count = min(READ_ANSWERS, 2 * count)
                for entry, fields in found[0][1] if found else ():
                    taken.append(entry)
                    try:
                        self._take(fields)
                    except Exception:
                        LOG.exception("an answer from Redis could not be taken in")
                if lost:
                    lost = False
                    self.search()
                for _ in range(TURNS if taken else 0):
                    await asyncio.sleep(0)
        finally:
            await channel.close()

    def search(self) -> None:
        """Redis may have lost its memory: look for every job that is waited for, and give it those that are gone."""
        if self._asked:
            self._begin(self._search())

    def _take(self, fields: Sequence[bytes]) -> None:
        """Take in one answer."""
        try:
            answer = read_answer(fields)
        except Unreadable as error:
            LOG.error("%s", error)
            return
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
        job, line, bounds = asked.job, asked.line, asked.line.bounds
        now = time.monotonic()
        most = min(line.most_ahead(job, now), 1e15)
        life = int(1000 * (max(0.0, job.deadline - now) + LIFE_SECONDS))
        call = self._pipe.call(
            *script(
                "admit",
                asked.queue,
                *(job.priority, job.row_steps, asked.size),
                *(bounds.max_requests, bounds.max_row_steps, bounds.max_bytes, int(most)),
                *(life, int(forced)),
                *job_fields(job, self._api, asked.size, self._clock),
            )
        )
        try:
            await asyncio.wait({call}, timeout=max(0.05, job.deadline - now))
        finally:
            if not call.done():  # nobody waits any more; take it back should it have come in
                call.add_done_callback(lambda done: self._too_late(asked, done))
        if not call.done():
            raise Stopped(f"Redis at {self._redis.shown} did not take the request before its deadline")
        try:
            entry, *load = call.result()
        except Away as away:
            raise Stopped(str(away)) from None
        except ResponseError as error:
            raise Stopped(f"Redis at {self._redis.shown} did not take the request: {refusal(error)}") from None
        line.survey(*load)
        if entry is None:
            raise Overtaken(line.refusal(job, asked.size, time.monotonic()))
        asked.entry = entry
        if str(job.id) not in self._asked:
            if asked.answer.cancelled() or asked.answer.exception() is not None:
                self._begin(self._withdraw(asked))  # in the meantime nobody waits any more
        elif asked.timer is None:
            self._look_later(asked, max(0.0, job.deadline - time.monotonic()))

    def _too_late(self, asked: _Asked, done: asyncio.Future[Any]) -> None:
        """Redis took a job after all."""
        if not done.cancelled() and done.exception() is None and done.result()[0] is not None:
            asked.entry = done.result()[0]
            self._begin(self._withdraw(asked))

    def _look_later(self, asked: _Asked, seconds: float) -> None:
        asked.timer = asyncio.get_running_loop().call_later(seconds, lambda: self._begin(self._look(asked)))

    async def _look(self, asked: _Asked) -> None:
        """A job's deadline has passed: it ends, unless an agent is at work on it."""
        if str(asked.job.id) not in self._asked:
            return
        try:
            state, *more = await self._pipe.call(*asked.script("withdraw"))
            if state == b"held" and more[1] / 1000 > 3 * asked.line.lease:
                await self._pipe.call(*asked.script("withdraw", forced=True))
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

    async def _withdraw(self, asked: _Asked) -> None:
        """Take back an entry that nobody waits for, or tell the agent that has it."""
        try:
            state, *more = await self._pipe.call(*asked.script("withdraw"))
            if state == b"held":
                self._cancelled("running")
                control = self._keys.control(more[0].decode())
                await asyncio.gather(
                    self._pipe.call("XADD", control, "MAXLEN", "~", 10_000, "*", *asked.place),
                    self._pipe.call("PEXPIRE", control, int(1000 * CONTROL_SECONDS)),
                )
            elif state == b"removed":
                self._cancelled("waiting")
        except (Away, ResponseError):
            return  # it ends by its deadline, or is done for nobody

    async def _search(self) -> None:
        await asyncio.sleep(SETTLE_SECONDS)
        by_stream: dict[str, dict[bytes, _Asked]] = {}
        for asked in self._asked.values():
            if asked.entry is not None:
                by_stream.setdefault(asked.queue[0], {})[asked.entry] = asked
        for stream, entries in by_stream.items():
            ids = list(entries)
            for first in range(0, len(ids), LOOKED_FOR):
                some = ids[first : first + LOOKED_FOR]
                try:
                    missing = await self._pipe.call(*script("missing", [stream], *some))
                except (Away, ResponseError):
                    return  # Redis will be back once more, or each job is looked for at its deadline
                await asyncio.gather(*(self._put_again(entries[entry]) for entry in missing))

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

"""What an agent holds of one engine: entries that it took, the local line that runs them, and their ends."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from server.backend.line import Line
from server.backend.queue import QueueFull
from server.fleet.clock import FleetClock
from server.fleet.codec import (
    MAX_REPLY,
    TOO_LATE,
    Envelope,
    Op,
    Unreadable,
    answer_fields,
    envelope,
    read_job,
    result_told,
)
from server.fleet.keys import Keys
from server.fleet.outbox import Outbox
from server.fleet.scripts import Argument, Command, script
from server.jobs import Expired, JobFailed, Part, Priority, Result, Stopped
from server.schedule.placement import ROOM_TICKS

MAX_DELIVERIES = 3
"""Agents that may be given a job and not end it, before the job is taken for the cause and fails."""

REPLY_SECONDS = 60.0
"""How long an answer waits for its API process."""

GRACE_SECONDS = 30.0
"""After its deadline an answer is still worth sending for so long."""

DEAD_SECONDS = 7 * 86400.0
"""How long dead letters are kept."""

DEAD_BLOB = 65_536
"""Bytes of an image that a dead letter keeps at most."""

LEFT_MS = 10**9
"""What an entry that is handed back says it was left for: longer than any lease."""

_numbers = itertools.count(1)
"""Of the jobs of all lines of this process."""


@dataclass(eq=False)
class Entry:
    """One entry of a work stream that this agent has."""

    work: str
    """The stream."""
    id: bytes
    """In its stream; others number theirs alike."""
    priority: Priority
    wrapped: Envelope
    number: int
    """What the job is called here."""
    rows: int
    until: float
    """Of the monotonic clock: later nobody waits for its answer."""

    @property
    def place(self) -> tuple[str, bytes]:
        """What no other entry has."""
        return self.work, self.id


class Hold:
    """The entries of one engine."""

    def __init__(self, line: Line, keys: Keys, clock: FleetClock, outbox: Outbox, agent: str) -> None:
        """`line` has had a warm worker."""
        assert line.model is not None
        self.line = line
        self.model = line.model
        self.keys = keys
        self._clock = clock
        self._outbox = outbox
        self._agent = agent
        self.entries: dict[tuple[str, bytes], Entry] = {}
        """By stream and id."""
        self._latest: dict[Priority, int] = {"interactive": 1, "batch": 1}
        """Rows of the entry of each class that was taken last."""
        self.reclaimed = 0
        """Entries taken over from agents that gave no sign of life."""
        self.ended = dict.fromkeys(("done", "failed", "expired", "cancelled"), 0)
        """How many ended here, and how."""
        self.buried = dict.fromkeys(("deaths", "unreadable"), 0)
        """How many were given up for good, and why."""
        self._changed = asyncio.Event()

    @property
    def name(self) -> str:
        """Of the bundle."""
        return self.model.name

    async def change(self, patience: float) -> None:
        """Wait until something leaves, for at most so many seconds."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), patience)

    def room(self, priority: Priority) -> int:
        """Entries that may be taken now of a class, each with as many rows as the one before: enough that no worker
        waits for Redis, and no more.

        Batch work that is here does not take the room of interactive work, which passes it.
        """
        if not self.line.up:
            return 0
        dispatch = self.line.dispatch
        counted = (entry.rows for entry in self.entries.values() if priority in ("batch", entry.priority))
        rows = dispatch.workers * ROOM_TICKS * dispatch.costs.knee - sum(counted)
        return max(1, rows // self._latest[priority]) if rows > 0 else 0

    async def take(self, priority: Priority, entry_id: bytes, fields: Sequence[bytes], deliveries: int = 1) -> None:
        """Run an entry that was delivered to this agent, `deliveries` times to somebody."""
        work = self.keys.work(self.model.fingerprint, priority)
        if (work, entry_id) in self.entries:
            return
        try:
            wrapped = envelope(fields)
        except Unreadable as error:
            self._bury("unreadable", priority, entry_id, None, str(error), time.monotonic() + GRACE_SECONDS)
            return
        until = max(time.monotonic(), self._clock.own(wrapped.deadline)) + GRACE_SECONDS
        number = next(_numbers)
        if deliveries > MAX_DELIVERIES:
            reason = f"the workers that had this request died {deliveries - 1} times"
            self._bury("deaths", priority, entry_id, wrapped, reason, until)
            return
        try:
            job = read_job(wrapped, number, self._clock)
        except Unreadable as error:
            self._bury("unreadable", priority, entry_id, wrapped, str(error), until)
            return
        entry = Entry(work, entry_id, priority, wrapped, number, job.rows, until)
        if job.deadline <= time.monotonic():
            self._finish(entry, "expired", self._told(entry, "expired", {"reason": TOO_LATE}))
            return
        self.entries[entry.place] = entry
        self._latest[priority] = entry.rows
        try:
            # The last try: with company, the death of a worker would count against all of it once more.
            alone = deliveries == MAX_DELIVERIES
            answer = await self.line.dispatch.submit(job, lambda part: self._show(entry, part), alone=alone)
        except (QueueFull, Stopped):
            self._hand_back(entry)
            return
        answer.add_done_callback(lambda done: self._over(entry, done))

    def cancel(self, work: str, entry_id: bytes) -> None:
        """Nobody waits for an entry of a stream any more."""
        entry = self.entries.get((work, entry_id))
        if entry is not None:
            self.line.dispatch.cancel(entry.number)
            self._finish(entry, "cancelled", [])

    def lose(self, work: str, entry_id: bytes) -> None:
        """Another agent has the entry now, or it is over: its work here is for nobody."""
        entry = self.entries.get((work, entry_id))
        if entry is not None:
            self._forget(entry)
            self.line.dispatch.cancel(entry.number)

    def _over(self, entry: Entry, done: asyncio.Future[Result]) -> None:
        """The local line is done with an entry."""
        if done.cancelled():
            return
        error = done.exception()
        if entry.place not in self.entries:
            return
        if error is None:
            result = done.result()
            size = sum(map(len, result.blobs))
            if size <= MAX_REPLY:
                self._finish(entry, "done", self._told(entry, "done", result_told(result), result.blobs))
                return
            error = JobFailed(f"its answer has {size} bytes, and {MAX_REPLY} may pass; ask for fewer images at once")
        if isinstance(error, Stopped):
            self._hand_back(entry)
        else:
            op: Op = "expired" if isinstance(error, Expired) else "failed"
            self._finish(entry, op, self._told(entry, op, {"reason": str(error)}))

    @staticmethod
    def _told(entry: Entry, op: Op, told: dict[str, Any], blobs: Sequence[bytes] = ()) -> list[Argument]:
        return answer_fields(entry.wrapped.number, op, told, blobs, entry.wrapped.version)

    def _show(self, entry: Entry, part: Part) -> None:
        fields = self._told(entry, "part", {"step": part.step}, [part.blob])
        reply = self.keys.reply(entry.wrapped.api)
        self._outbox.add(script("part", [reply], int(1000 * REPLY_SECONDS), *fields), entry.until)

    def _finish(self, entry: Entry, outcome: str, fields: Sequence[Argument]) -> None:
        self.ended[outcome] += 1
        self._forget(entry)
        self._outbox.add(self._end(entry.priority, entry.id, entry.wrapped, fields, ()), entry.until)

    def _hand_back(self, entry: Entry) -> None:
        """This line cannot run it, which is none of the job's fault: others shall, at once."""
        self._forget(entry)
        self._outbox.add(script("keep", [entry.work], self._agent, LEFT_MS, entry.id), entry.until)

    def _forget(self, entry: Entry) -> None:
        self.entries.pop(entry.place, None)
        self._changed.set()
        self._changed = asyncio.Event()

    def _bury(
        self, why: str, priority: Priority, entry_id: bytes, wrapped: Envelope | None, reason: str, until: float
    ) -> None:
        """End an entry that nobody can run; `why` is a word for who counts, `reason` for who reads."""
        self.buried[why] += 1
        self._outbox.add(self._burial(priority, entry_id, wrapped, reason), until)

    def _burial(self, priority: Priority, entry_id: bytes, wrapped: Envelope | None, reason: str) -> Command:
        """The command that ends an entry which nobody can run."""
        letter: list[Argument] = ["reason", reason, "agent", self._agent, "fingerprint", self.model.fingerprint]
        letter += ["name", self.model.name, "entry", entry_id]
        if wrapped is None:
            return self._end(priority, entry_id, None, (), letter)
        letter += ["api", wrapped.api, "number", wrapped.number, "v", wrapped.version, "job", wrapped.job]
        for blob in wrapped.blobs:
            letter += ["blob", blob[:DEAD_BLOB]]
        told = answer_fields(wrapped.number, "failed", {"reason": reason}, version=wrapped.version)
        return self._end(priority, entry_id, wrapped, told, letter)

    def _end(
        self,
        priority: Priority,
        entry_id: bytes,
        wrapped: Envelope | None,
        told: Sequence[Argument],
        letter: Sequence[Argument],
    ) -> Command:
        row_steps, size, api = (wrapped.row_steps, wrapped.size, wrapped.api) if wrapped else (0, 0, "nobody")
        keys = (*self.keys.queue(self.model.fingerprint, priority), self.keys.reply(api), self.keys.dead)
        own = (priority, entry_id, row_steps, size)
        lives = (int(1000 * REPLY_SECONDS), len(told) // 2, int(1000 * DEAD_SECONDS))
        return script("finish", keys, *own, *lives, *told, *letter)

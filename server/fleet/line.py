"""The API process's side of one engine that a fleet serves: who serves it, what waits for them, who is let in."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from server.backend.dispatch import OnPart
from server.backend.model import Model
from server.fleet.codec import MAX_REPLY
from server.fleet.keys import Keys
from server.fleet.roster import TTL_SECONDS, Announcement, pool
from server.jobs import Job, Priority, Result
from server.schedule.admission import DEADLINES, Admitted, Bounds, Refused, Wanted, decide, most_ahead
from server.schedule.costs import Costs

if TYPE_CHECKING:
    from server.fleet.inflight import InFlight

CLASSES: tuple[Priority, ...] = ("interactive", "batch")


@dataclass(frozen=True)
class Held:
    """The load of one engine in the whole fleet, as last heard of: a `Load` for `decide`.

    It knows no clients: entries of one class are taken in their order, whoever sent them, so all that is there is ahead
    of a newcomer.
    """

    requests: int = 0
    interactive: int = 0
    batch: int = 0
    bytes: int = 0

    @property
    def total(self) -> int:
        """Row-steps."""
        return self.interactive + self.batch

    def row_steps(self, priority: Priority) -> int:
        """Row-steps of a class."""
        return self.interactive if priority == "interactive" else self.batch

    def ahead_of(self, client: str, priority: Priority, row_steps: int) -> int:
        """Row-steps that run before a newcomer is done: interactive work does not wait for batch."""
        return self.interactive if priority == "interactive" else self.total


class FleetLine:
    """One engine, and the agents that run it."""

    max_reply = MAX_REPLY

    def __init__(self, model: Model, keys: Keys, inflight: InFlight, bounds: Bounds, deadline: float) -> None:
        """`bounds` are those of the whole fleet for this engine; `deadline` in seconds, of interactive requests."""
        self._model = model
        self.keys = keys
        self.bounds = bounds
        self._deadline = deadline
        self.dispatch = FleetDispatch(self, inflight)
        self.agents: tuple[Announcement, ...] = ()
        """Those that are there."""
        self.seen = self.looked = time.monotonic()
        """When an agent was last there, and when Redis last told who is."""
        self.costs = Costs(1)
        self._workers = 0.0
        self.held = Held()
        self._taken = 0

    @property
    def model(self) -> Model:
        """What is served."""
        return self._model

    @property
    def up(self) -> bool:
        """Whether an agent with a warm worker is there, as far as is known: what Redis told holds for a while."""
        return time.monotonic() - self.looked <= TTL_SECONDS and any(agent.workers for agent in self.agents)

    @property
    def lacking(self) -> str:
        """Why it is not up."""
        unheard = time.monotonic() - self.looked
        if unheard > TTL_SECONDS:
            return f"Redis has not told for {unheard:.0f} s who serves {self.model.name}"
        return f"no worker serves {self.model.name} now"

    @property
    def workers_wanted(self) -> int:
        """Workers that are there: how many there should be is for whoever starts them."""
        return sum(agent.workers for agent in self.agents)

    @property
    def reads(self) -> int:
        """The newest version of jobs that every agent reads: whichever is free takes the next one."""
        return min((agent.reads for agent in self.agents), default=1)

    @property
    def versions(self) -> list[str]:
        """The versions of longjump that its agents are of."""
        return sorted({agent.version for agent in self.agents})

    @property
    def lease(self) -> float:
        """Seconds without a sign of life after which what an agent holds is taken by others."""
        return max((agent.lease for agent in self.agents), default=0.0)

    def announce(self, agents: Sequence[Announcement]) -> None:
        """These are there now."""
        if agents:
            self.seen = time.monotonic()
        if tuple(agents) != self.agents:
            self.agents = tuple(agents)
            self.costs, self._workers = pool(agents)

    def survey(self, requests: int, interactive: int, batch: int, size: int, taken: int | None = None) -> None:
        """So much is there now; `taken` of the requests are with an agent."""
        self.held = Held(requests, interactive, batch, size)
        if taken is not None:
            self._taken = taken

    def admit(self, wanted: Wanted, now: float) -> Admitted | Refused:
        """Whether a request is let in, by what this process knows; Redis has the last word (`refusal`)."""
        deadline = self.default_deadline(wanted.priority)
        return decide(wanted, self.held, self.costs, self._workers, self.bounds, now, deadline)

    def most_ahead(self, job: Job, now: float) -> float:
        """Row-steps that may be ahead of an admitted job."""
        allowed, gone = job.deadline - job.arrival, now - job.arrival
        return most_ahead(self.costs, self._workers, job.rows_per_step, job.steps, allowed, gone)

    def refusal(self, job: Job, size: int, now: float) -> Refused:
        """Why Redis refused a job that this process had admitted, by what it knows now."""
        wanted = Wanted(
            job.client, job.priority, job.rows_per_step, (job.steps,), job.arrival, job.deadline - job.arrival, size
        )
        answer = self.admit(wanted, now)
        if isinstance(answer, Refused):
            return answer
        return Refused("deadline", answer.predicted_wait, self.costs.tick_seconds(self.costs.knee))

    def default_deadline(self, priority: Priority) -> float:
        """Seconds that a request of a class has which names no deadline."""
        return self._deadline if priority == "interactive" else DEADLINES[priority]

    def predicted_wait(self, priority: Priority = "interactive") -> float:
        """Seconds until a request that comes now is begun."""
        return self.held.ahead_of("", priority, 1) * self.costs.row_seconds / max(1.0, self._workers)

    def capacity(self) -> dict[str, Any]:
        """What the fleet can do and has to do for this engine: its entry in /v1/capacity."""
        costs, held, bounds = self.costs, self.held, self.bounds
        return {
            "model": self.model.name,
            "fingerprint": self.model.fingerprint,
            "agents": len(self.agents),
            "workers": self.workers_wanted,
            "versions": self.versions,
            "measured": costs.known,
            "rows_per_second": self._workers / costs.row_seconds,
            "rows_per_tick": costs.knee,
            "tick_seconds": {str(rows): costs.tick_seconds(rows) for rows in range(1, costs.max_rows + 1)},
            "predicted_wait_seconds": {priority: self.predicted_wait(priority) for priority in CLASSES},
            "waiting": max(0, held.requests - self._taken),
            "running": min(held.requests, self._taken),
            "row_steps": {priority: held.row_steps(priority) for priority in CLASSES},
            "bytes": held.bytes,
            "bounds": {
                "requests": bounds.max_requests,
                "row_steps": bounds.max_row_steps,
                "bytes": bounds.max_bytes,
            },
        }


class FleetDispatch:
    """Takes the jobs of one line."""

    def __init__(self, line: FleetLine, inflight: InFlight) -> None:
        self._line = line
        self._inflight = inflight

    async def submit(self, job: Job, on_part: OnPart | None = None) -> asyncio.Future[Result]:
        """See `InFlight.submit`."""
        return await self._inflight.submit(self._line, job, on_part)

    def cancel(self, job_id: int) -> None:
        """See `InFlight.cancel`."""
        self._inflight.cancel(job_id)

    def hear(self) -> None:
        """Ticks are told of by the workers themselves, where they run."""

"""What is let in: from the backlog in row-steps and the measured costs, a request's finish is known before it starts.

What can be done in time is admitted, with fewer steps if it leaves the choice; what cannot is refused at once, with
the time after which it could. Pure: the caller keeps the Backlog and tells the time.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from server.jobs import Priority
from server.schedule.costs import Costs
from server.schedule.policy import QUANTUM, virtual_deadline

if TYPE_CHECKING:
    from export.runtime.manifest import Manifest

DEADLINES: dict[Priority, float] = {"interactive": 1.0, "batch": 60.0}
"""Seconds that a request has which names no deadline. A server may set its own for interactive ones."""

SAFETY = 0.9
"""Share of a deadline within which a request is planned to be done; the rest is for decoding, encoding, the way to the
client, and what no cost model knows."""

WAIT_SHARE = 0.4
"""Share of a deadline that a request may wait before it starts, the same for all and well below SAFETY: short requests
could otherwise fill the server so far that no longer one fits, and those that just fit are passed by later arrivals."""

OWN_SHARE = 0.5
"""A request that names no deadline gets a longer one where its own work, in full ticks, would fill more than this
share."""

RENOISING_STEPS = 2
"""Most steps that `auto` chooses of grids that re-noise and were not measured: more often lose quality than gain it."""

Reason = Literal["requests", "bytes", "row_steps", "deadline", "impossible"]
"""Why a request is refused. requests, bytes, row_steps: a bound of the queue. deadline: it would be done too late.
impossible: it would be too late on an idle server, so that coming back later does not help."""


class Load(Protocol):
    """What is admitted and not done, as far as admission looks at it."""

    @property
    def requests(self) -> int: ...
    @property
    def total(self) -> int:
        """Row-steps."""

    @property
    def bytes(self) -> int: ...
    def row_steps(self, priority: Priority) -> int:
        """Row-steps of a class."""

    def ahead_of(self, client: str, priority: Priority, row_steps: int) -> int:
        """Row-steps that run before a newcomer of so many is done."""


class Backlog:
    """All admitted work that is not done, waiting or running, by class and client."""

    def __init__(self) -> None:
        self.requests = 0
        self.total = 0
        """Row-steps."""
        self.bytes = 0
        """Of what requests hold, uploaded images above all."""
        self._work: dict[Priority, dict[str, int]] = {"interactive": {}, "batch": {}}

    def add(self, priority: Priority, client: str, row_steps: int, size: int = 0) -> None:
        """A request was admitted. `size` is in bytes."""
        work = self._work[priority]
        work[client] = work.get(client, 0) + row_steps
        self._count(1, row_steps, size)

    def remove(self, priority: Priority, client: str, row_steps: int, size: int = 0) -> None:
        """A request is done, failed or dropped; with the numbers it was added with."""
        work = self._work[priority]
        left = work[client] - row_steps
        if left:
            work[client] = left
        else:
            del work[client]
        self._count(-1, -row_steps, -size)

    def row_steps(self, priority: Priority) -> int:
        """Row-steps of a class."""
        return sum(self._work[priority].values())

    def ahead_of(self, client: str, priority: Priority, row_steps: int) -> int:
        """Row-steps that run before a newcomer of so many is done, as the policy orders them.

        Interactive work does not wait for batch. Of its class it waits for all of its own client, and of another
        for as much as that may be served until fair share puts it behind.
        """
        work = self._work[priority]
        own = work.get(client, 0)
        turn = own + row_steps + QUANTUM
        ahead = own + sum(min(theirs, turn) for other, theirs in work.items() if other != client)
        return ahead + (self.row_steps("interactive") if priority == "batch" else 0)

    def _count(self, requests: int, row_steps: int, size: int) -> None:
        self.requests += requests
        self.total += row_steps
        self.bytes += size


class Excess(NamedTuple):
    """A bound that a request would break."""

    what: Reason
    held: int
    wanted: int
    """What would be held with the request."""
    bound: int


@dataclass(frozen=True)
class Bounds:
    """How much may be admitted and not done, at most. An empty server takes any one request."""

    max_requests: int
    max_row_steps: int
    max_bytes: int

    def excess(self, backlog: Load, row_steps: int, size: int) -> Excess | None:
        """The first bound that one more request of so many row-steps and bytes would break; None if it fits."""
        if not backlog.requests:
            return None
        for excess in (
            Excess("requests", backlog.requests, backlog.requests + 1, self.max_requests),
            Excess("bytes", backlog.bytes, backlog.bytes + size, self.max_bytes),
            Excess("row_steps", backlog.total, backlog.total + row_steps, self.max_row_steps),
        ):
            if excess.wanted > excess.bound:
                return excess
        return None


@dataclass(frozen=True)
class Wanted:
    """A request that asks to be let in."""

    client: str
    priority: Priority
    rows: int
    """Rows of the network evaluation that one of its steps takes: Job.rows_per_step."""
    steps: Sequence[int]
    """The step counts that it may be served with, the best first: one, or `auto_choices`."""
    arrival: float
    """When it came, in the seconds of `now`."""
    deadline: float | None = None
    """Seconds from arrival, as the client gave them; None: the default of its class."""
    size: int = 0
    """Bytes that it holds until it is done."""


@dataclass(frozen=True)
class Admitted:
    """A request to be queued, with what its Job says."""

    steps: int
    due: float
    """Virtual deadline, a time of the clock of `now`."""
    deadline: float
    """After this it is not begun any more; a time of the same clock."""
    predicted_wait: float
    """Seconds until it starts, as far as is known."""


@dataclass(frozen=True)
class Refused:
    """A request to be turned away now."""

    reason: Reason
    predicted_wait: float
    """Seconds until it would have started with the least steps it allows."""
    retry_after: float | None
    """Seconds until the backlog has drained enough for it; None: it never fits (`impossible`)."""


def decide(
    wanted: Wanted,
    backlog: Load,
    costs: Costs,
    workers: float,
    bounds: Bounds,
    now: float,
    default_deadline: float | None = None,
) -> Admitted | Refused:
    """Let a request in with the first of its step counts that fits, or refuse it for the least.

    `workers` are up (none: as if one was, it is being restarted); `default_deadline` in seconds overrides DEADLINES.
    While costs are unknown only the bounds decide.
    """
    refused = None
    for steps in wanted.steps:
        answer = _decide(wanted, steps, backlog, costs, max(1, workers), bounds, now, default_deadline)
        if isinstance(answer, Admitted):
            return answer
        if steps == min(wanted.steps):
            refused = answer
    assert refused is not None, "a request allows at least one step count"
    return refused


def _decide(
    wanted: Wanted,
    steps: int,
    backlog: Load,
    costs: Costs,
    workers: float,
    bounds: Bounds,
    now: float,
    default_deadline: float | None,
) -> Admitted | Refused:
    row_steps = wanted.rows * steps
    pace = costs.row_seconds / workers
    ahead = backlog.ahead_of(wanted.client, wanted.priority, row_steps)
    wait = ahead * pace
    alone = costs.service_seconds(wanted.rows, steps)
    in_company = _in_company(costs, wanted.rows, steps)
    own = in_company if ahead else alone

    excess = bounds.excess(backlog, row_steps, wanted.size)
    if excess is not None:
        share = min(1.0, (excess.wanted - excess.bound) / max(1, excess.held))
        return Refused(excess.what, wait, backlog.total * pace * share)

    default = DEADLINES[wanted.priority] if default_deadline is None else default_deadline
    allowed = max(default, in_company / OWN_SHARE) if wanted.deadline is None else wanted.deadline
    explicit = None if wanted.deadline is None else wanted.arrival + wanted.deadline
    due = virtual_deadline(wanted.arrival, alone, explicit)
    admitted = Admitted(steps, due, wanted.arrival + allowed, wait)
    gone = now - wanted.arrival
    too_long = wait - _longest_wait(allowed, own) + gone
    if not costs.known or too_long <= 0.0:
        return admitted
    if alone > SAFETY * allowed:
        return Refused("impossible", wait, None)
    return Refused("deadline", wait, too_long)


def most_ahead(costs: Costs, workers: float, rows: int, steps: int, allowed: float, gone: float) -> float:
    """Row-steps that may run before a request of so many rows and steps: with more of them `decide` refuses it.

    `allowed` and `gone` are seconds from its arrival: until its deadline, and until now.
    """
    if not costs.known:
        return math.inf
    pace = costs.row_seconds / max(1, workers)
    return max(0.0, (_longest_wait(allowed, _in_company(costs, rows, steps)) - gone) / pace)


def _in_company(costs: Costs, rows: int, steps: int) -> float:
    """Seconds of a request's own work in full ticks."""
    return steps * math.ceil(rows / costs.knee) * costs.tick_seconds(costs.knee)


def _longest_wait(allowed: float, own: float) -> float:
    """Seconds that a request with so many until its deadline, and so many of work, may wait before it starts."""
    return min(WAIT_SHARE * allowed, SAFETY * allowed - own)


def auto_choices(manifest: Manifest, min_steps: int | None = None, max_steps: int | None = None) -> list[int]:
    """The step counts that `auto` may choose between two bounds (None: no bound), the best first.

    Measured ones come by quality (a lower Fréchet distance is better). The others follow, the most steps first;
    grids that re-noise only up to RENOISING_STEPS, unless nothing else is left. Raises ValueError if the model supports
    none between the bounds.
    """
    low, high = min_steps or 1, max_steps or math.inf
    between = [steps for steps in manifest.steps if low <= steps <= high]
    if not between:
        supported = ", ".join(map(str, manifest.steps))
        raise ValueError(f"no step count from {low} to {high:g} is supported; {manifest.name} supports {supported}")
    measured = _measured(manifest.quality, between)
    best = sorted(measured, key=lambda steps: (measured[steps], steps))
    others = [steps for steps in between if steps not in measured]
    tame = [s for s in others if s <= RENOISING_STEPS or not any(step.b > 0 for step in manifest.grid(s))]
    return best + sorted(tame, reverse=True) or [min(others)]


def _measured(quality: dict[str, Any], between: Sequence[int]) -> dict[int, float]:
    """The measured distance of each step count that has one, all of one name: others do not compare with it.

    It is the name that most of them have; of several such `fd` goes before `fid`.
    """
    known = {steps: _distances(quality, steps) for steps in between}
    names = Counter(name for distances in known.values() for name in distances)
    if not names:
        return {}
    name = min(names, key=lambda name: (-names[name], name))
    return {steps: distances[name] for steps, distances in known.items() if name in distances}


def _distances(quality: dict[str, Any], steps: int) -> dict[str, float]:
    """The distances of a step count by name (fd, fd_NETWORK, fid), wherever an evaluator that we know puts them."""
    for table in (quality, quality.get("steps")):
        entry = table.get(str(steps)) if isinstance(table, dict) else None
        found = {
            name: float(value)
            for name, value in (entry if isinstance(entry, dict) else {"fd": entry}).items()
            if name.startswith(("fd", "fid"))
            and isinstance(value, int | float)
            and not isinstance(value, bool)
            and math.isfinite(value)
        }
        if found:
            return found
    return {}

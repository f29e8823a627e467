"""What runs next: one order for jobs in the queue and for rows in a tick, pure functions of (state, now).

The order is (class, fair share in row-steps, virtual deadline, id). A row is one sample of one request on its way
down its grid; a tick evaluates the network once for all picked rows, each with its own t and s, so rows of different
requests, step counts and positions share it.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from server.jobs import Priority

STRETCH = 10.0
"""A request is due this many times its own service time after its arrival. The larger, the more one-step requests
pass those of many steps; the smaller, the nearer to first come, first served."""

PRESSURE = 2.0
"""Full ticks of rows that must wait before ticks are full ones; below, small ticks serve everyone sooner."""

QUANTUM = 32
"""Row-steps that one client may be ahead of another before fair share, and not the virtual deadline, decides."""


LAST_PART = 0.4
"""Share of the time from arrival to deadline in which a request does not wait for fair share any more."""

MAX_IDLE = 4096
"""Clients without work whose share is remembered while others have work; of more, the first to come are forgotten."""


class Item(Protocol):
    """What the order looks at: a Job in the queue, or a Row in a worker."""

    @property
    def id(self) -> int:
        """Of the request, growing with its admission."""

    @property
    def client(self) -> str: ...
    @property
    def priority(self) -> Priority: ...
    @property
    def arrival(self) -> float: ...
    @property
    def due(self) -> float: ...
    @property
    def deadline(self) -> float: ...


class Row(NamedTuple):
    """What a policy may know of a row. Times are in the seconds of `now`."""

    request: int
    """The id of its job."""
    sample: int
    """Which sample of the request, from 0."""
    client: str
    priority: Priority
    arrival: float
    """When the request was admitted."""
    due: float
    """The request's virtual deadline."""
    deadline: float
    steps: int
    done: int
    """Steps already taken, 0 <= done < steps."""
    width: int = 1
    """Rows of the network evaluation that it takes: 2 between two labels."""

    @property
    def id(self) -> int:
        return self.request


class Shares:
    """Row-steps served to each client in this busy period, start-time fair (Goyal et al., SIGCOMM 1996).

    A client that comes starts at the least of those with work, so that absence earns no credit; one that comes back
    stands where it was, if that is more, so that asking one by one does not pass those that ask at once. All is
    forgotten when nobody has work; before, at most MAX_IDLE clients without work are remembered.
    """

    def __init__(self) -> None:
        self._served: dict[str, int] = {}
        self._requests: dict[str, int] = {}
        self._floor = 0

    def __len__(self) -> int:
        """Clients remembered."""
        return len(self._served)

    def arrive(self, client: str) -> None:
        """One more request of the client is here; to be matched by one `leave`."""
        if client not in self._requests:
            self._floor = max(self._floor, min(map(self._served.__getitem__, self._requests), default=0))
            self._served[client] = max(self._floor, self._served.pop(client, 0))
        self._requests[client] = self._requests.get(client, 0) + 1

    def leave(self, client: str) -> None:
        """A request of the client is done, failed or dropped."""
        self._requests[client] -= 1
        if not self._requests[client]:
            del self._requests[client]
            self._forget()

    def charge(self, client: str, row_steps: int) -> None:
        """Row-steps were run, or handed to a worker, for a client. One without work here is not charged."""
        if client in self._requests:
            self._served[client] += row_steps

    def level(self, client: str) -> int:
        """Whole quanta served to the client; the lower, the sooner its turn."""
        return self._served.get(client, 0) // QUANTUM

    def _forget(self) -> None:
        if not self._requests:
            self._served.clear()
            self._floor = 0
        elif len(self._served) - len(self._requests) > MAX_IDLE:
            idle = [client for client in self._served if client not in self._requests]
            for client in idle[: MAX_IDLE // 2]:
                del self._served[client]


@dataclass(frozen=True)
class State:
    """What a pick is made from."""

    rows: Collection[Row]
    """All unfinished rows; those of one request in the order of their samples."""
    max_rows: int
    """Rows that one tick takes at most, counted by width: Costs.knee."""
    shares: Shares
    calm_rows: int | None = None
    """Rows that it takes at most while at most PRESSURE full ticks wait: Costs.calm_rows. None: `max_rows`."""


Policy = Callable[[State, float], list[Row]]
"""(state, now) -> the rows of the next tick. Never empty if there are rows."""

Key = tuple[int, int, float, int]


def virtual_deadline(
    arrival: float, service_seconds: float, explicit_deadline: float | None, stretch: float = STRETCH
) -> float:
    """When a request is due: `stretch` times its own service time after arrival, or its explicit deadline if sooner.

    `service_seconds` is the time of the request alone on an idle worker; `arrival`, `explicit_deadline` and the result
    are times of one clock.
    """
    due = arrival + stretch * service_seconds
    return due if explicit_deadline is None else min(due, explicit_deadline)


def patient_until(item: Item) -> float:
    """When a batch item begins to count as interactive: half of the time to its deadline is gone then."""
    return (item.arrival + item.deadline) / 2


def hurried_from(item: Item) -> float:
    """When fair share stops to hold an item back: no more than LAST_PART of the time to its deadline is left then."""
    return item.deadline - LAST_PART * (item.deadline - item.arrival)


def standing(item: Item, now: float) -> int:
    """What comes before everything in the order of one client's items: 0 hurried, 1 interactive, 2 patient batch.

    Items of one client and one standing never change places.
    """
    if now >= hurried_from(item):
        return 0
    return 2 if item.priority == "batch" and now < patient_until(item) else 1


def changes(item: Item) -> tuple[float, ...]:
    """When the standing of an item changes."""
    return (patient_until(item), hurried_from(item)) if item.priority == "batch" else (hurried_from(item),)


def order_key(item: Item, now: float, shares: Shares) -> Key:
    """Sorts what is to run first to the front.

    A batch item counts as interactive from `patient_until`. Fair share does not hold back an item from `hurried_from`:
    others have passed it that came after it was admitted, and admission keeps such items few. So nothing starves.
    """
    # As `standing` has it, written out: this is asked for every row and every job, several times a tick.
    arrival, deadline = item.arrival, item.deadline
    if now >= deadline - LAST_PART * (deadline - arrival):
        return (0, -1, item.due, item.id)
    patient = item.priority == "batch" and now < (arrival + deadline) / 2
    return (int(patient), shares.level(item.client), item.due, item.id)


def pick(state: State, now: float) -> list[Row]:
    """The first rows in order whose widths fill a tick. The very first is taken even if it alone is wider."""
    if len(state.rows) == 1:
        return list(state.rows)
    space = state.max_rows
    if state.calm_rows is not None and sum(row.width for row in state.rows) <= PRESSURE * state.max_rows:
        space = min(space, state.calm_rows)

    def key(row: Row) -> Key:
        return order_key(row, now, state.shares)

    picked: list[Row] = []
    width = 0
    for row in heapq.nsmallest(space, state.rows, key):
        if not picked or width + row.width <= space:
            picked.append(row)
            width += row.width
    return picked

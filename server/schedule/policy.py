"""Which rows run in the next tick: pure functions of (state, now), without clock, device or I/O.

A row is one sample of one request on its way down its grid. A tick evaluates the network once for all picked rows,
each with its own t and s, so rows of different requests, step counts and positions share it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple


class Row(NamedTuple):
    """What a policy may know of a row."""

    request: int
    sample: int
    """Which sample of the request, from 0."""
    arrival: float
    """When the request was admitted, in the seconds of `now`."""
    steps: int
    done: int
    """Steps already taken, 0 <= done < steps."""


@dataclass(frozen=True)
class State:
    """All unfinished rows, oldest request first, and how many one tick takes."""

    rows: Collection[Row]
    max_rows: int


Policy = Callable[[State, float], list[Row]]


def first_come(state: State, now: float) -> list[Row]:
    """The oldest rows, at most `max_rows`. A request keeps its place until it is finished."""
    return list(islice(state.rows, state.max_rows))

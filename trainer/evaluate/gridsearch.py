"""The search for a grid: at which times the jumps of a sampler are best begun, by any figure that falls.

What is searched is the times between noise and data. How a grid adds noise stays as it is: along the flow, by
re-noising, or by gamma-sampling between the two. Times are moved in their log-odds log(t / (1 - t)), in which the noise
of a linear path grows evenly.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from export.runtime.grids import TOLERANCE, Grid, Span, Step, check_grid, gamma_grid

Times = tuple[float, ...]
"""Where the jumps after the first begin, falling, between 1 and 0."""

DIGITS = 4
"""Decimals of a searched time: finer ones make no other picture."""

LEAST, MOST = 0.002, 0.998
"""Times are searched between them, and below the model's largest."""

TOGETHER = 2.5
"""So far all log-odds are moved together, up and down."""

APART = 1.5
"""So far beyond the others the first and the last of them are moved alone."""

MARGIN = 0.1
"""The share of the gap between two times that a third one leaves to each."""

CALLS = {"together": 8, "apart": 4}
"""Times that are asked for in each move."""

GOLDEN = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True)
class Family:
    """Grids that differ in their times alone."""

    gamma: float
    """Share of new noise: 0 flow steps, 1 re-noising (`export.runtime.grids.gamma_grid`)."""

    def grid(self, times: Times) -> Grid:
        """The grid whose jumps after the first begin at `times`. Raises ValueError for times that do not fall."""
        if self.gamma:
            return gamma_grid((1.0, *times), self.gamma)
        return tuple(Step(t, r) for t, r in zip((1.0, *times), (*times, 0.0), strict=True))


def family_of(grid: Grid, span: Span) -> tuple[Family, Times]:
    """What a grid is one of, and its times.

    Raises:
        ValueError: there are no times to choose, or its noise is of no family.
    """
    if span == "dyadic":
        raise ValueError("its map knows jumps of a half, a quarter, ... only, so that there are no times to search")
    if len(grid) < 2:
        raise ValueError("one step leads from noise to data, so that there are no times to search")
    times = tuple(step.arrives for step in grid[:-1])
    family = Family(round(grid[0].b / times[0], 9))
    again = family.grid(times)
    if any(abs(a - b) > TOLERANCE for one, two in zip(grid, again, strict=True) for a, b in zip(one, two, strict=True)):
        raise ValueError("its steps add noise in another way than flow steps, re-noising and gamma-sampling do")
    return family, times


def search(times: Times, t_max: float, score: Callable[[Times], float]) -> Times:
    """Times of a lower score, or those given where none was found.

    First all move together, then one after another between its neighbours, each by a golden section. The same score
    leads to the same times, and none is asked for twice.

    Args:
        times: where to begin.
        t_max: the model's largest time.
        score: what is to fall; asked of times that fall and lie within the model's.
    """
    base = score(times)
    asked: dict[Times, float] = {times: base}

    def ask(odds: list[float]) -> float:
        found = tuple(round(1 / (1 + math.exp(-each)), DIGITS) for each in odds)
        if found not in asked:
            asked[found] = score(found)
        return asked[found]

    highest, lowest = _odds(min(t_max, MOST)), _odds(LEAST)
    start = [min(max(_odds(time), lowest), highest) for time in times]

    def shifted(by: float) -> list[float]:
        return [each + by for each in start]

    low, high = max(-TOGETHER, lowest - start[-1]), min(TOGETHER, highest - start[0])
    place = shifted(_golden(lambda by: ask(shifted(by)), low, high, CALLS["together"]))
    if ask(place) > ask(start):
        place = start
    for index in range(len(place)) if len(place) > 1 else ():
        above = place[index - 1] if index else min(place[0] + APART, highest)
        below = place[index + 1] if index + 1 < len(place) else max(place[-1] - APART, lowest)
        room = MARGIN * (above - below)
        better = _golden(partial(_moved, ask, place, index), below + room, above - room, CALLS["apart"])
        if _moved(ask, place, index, better) < ask(place):
            place = [*place[:index], better, *place[index + 1 :]]
    best = min(asked, key=lambda found: asked[found])
    return best if asked[best] < base else times


def check_times(family: Family, times: Times, span: Span, t_max: float) -> Grid:
    """The grid of these times. Raises ValueError where the model does not know its jumps."""
    grid = family.grid(times)
    check_grid(grid, span, t_max)
    return grid


def _moved(ask: Callable[[list[float]], float], place: list[float], index: int, to: float) -> float:
    """The score where one of the log-odds is another."""
    return ask([*place[:index], to, *place[index + 1 :]])


def _odds(time: float) -> float:
    return math.log(time / (1 - time))


def _golden(score: Callable[[float], float], low: float, high: float, calls: int) -> float:
    """The best of `calls` places of a golden section between two. Of a score with one valley it closes in on that."""
    places: dict[float, float] = {}
    left, right = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
    places[left], places[right] = score(left), score(right)
    for _ in range(calls - 2):
        if places[left] <= places[right]:
            high, right = right, left
            left = high - GOLDEN * (high - low)
            places[left] = score(left)
        else:
            low, left = left, right
            right = low + GOLDEN * (high - low)
            places[right] = score(right)
    return min(places, key=lambda place: places[place])

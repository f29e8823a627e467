"""Which rate a sweep measures next: pure, a function of what has been measured.

For each step count, in rounds over all of them, so that a sweep that is cut short has told something about each:

1. idle: one request at a time, which says what latency there is to keep;
2. climb: rates of 1, 2, 5, 10, 20, 50 ... per second, from about half the rate that one request at a time makes, until
   the server is overloaded; first down from there, as far as the client needs to keep a schedule at all;
3. bisect: for each deadline, the bracket between the highest rate that meets it and the lowest that does not;
4. repeat: both ends of each bracket again, with other arrivals, at times spread over the sweep.

A border that repeats contradict moves, and is searched again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from loadtest.sweep.borders import Border, Plan, Point, border, meets, reachable, rounded, votes_at

Phase = Literal["idle", "climb", "bisect", "repeat"]

PHASES: tuple[Phase, ...] = ("idle", "climb", "bisect", "repeat")

KEEPS_UP = 0.95
"""Share of what was sent that must be answered well: below it, a run was overloaded."""

SLOWER = 4.0
"""A median this many times the idle one is overload too, where nothing is refused and the queue only grows."""

DOWN = 4.0
"""A first rate that the client fails at is divided by this, and again, until it keeps one."""

FEWEST = 10
"""Requests in the longest run, with fewer of which no lower rate is tried for the client's sake."""

LOWEST = 0.2
"""Of the rate that one request at a time makes: below it, a deadline that is still missed is not searched further."""

INVALID_RUNS = 2
"""Runs at a rate whose client could not keep the schedule, after which that rate is beyond the client."""

MOST_RUNS = 100
"""For one step count: a sweep without a bound on its time ends too."""


@dataclass(frozen=True)
class Probe:
    """The run to make next."""

    steps: int
    rate: float | None
    seconds: float
    phase: Phase


@dataclass(frozen=True)
class Done:
    """Nothing is left to measure, or no time."""

    complete: bool


def next_probe(plan: Plan, points: Sequence[Point], elapsed: float) -> Probe | Done:
    """The next run of a sweep that has measured `points` in `elapsed` seconds.

    The earliest phase that any step count is in comes first, then the step count with the fewest runs. A run that
    does not fit into the time left is shortened, to `plan.shortest` at most; one that still does not fit is left out.
    """
    wishes = [wish for steps in plan.steps if (wish := _wish(plan, steps, points)) is not None]
    if not wishes:
        return Done(complete=True)
    left = plan.budget - elapsed - plan.overhead
    runs = {steps: sum(point.steps == steps for point in points) for steps in plan.steps}
    wishes.sort(key=lambda wish: (PHASES.index(wish.phase), runs[wish.steps], plan.steps.index(wish.steps)))
    for wish in wishes:
        seconds = min(wish.seconds, left)
        if seconds >= min(plan.shortest, wish.seconds):
            return Probe(wish.steps, wish.rate, seconds, wish.phase)
    return Done(complete=False)


def overloaded(plan: Plan, point: Point, idle: Point) -> bool:
    """Whether a run was beyond what the server can do: every deadline missed, and it did not keep up or slowed down."""
    if any(meets(plan, deadline, point) for deadline in range(len(plan.deadlines))):
        return False
    return point.answered < KEEPS_UP * point.sent or not point.median <= SLOWER * idle.median


def idle_point(points: Sequence[Point]) -> Point | None:
    """The idle run among the points of one step count; None: none is valid, or nothing was answered."""
    return next((point for point in points if point.rate is None and point.valid and point.answered), None)


def _wish(plan: Plan, steps: int, all_points: Sequence[Point]) -> Probe | None:
    points = [point for point in all_points if point.steps == steps]
    if len(points) >= MOST_RUNS:
        return None
    idle = idle_point(points)
    if idle is None:
        # An idle server that answers nothing is not asked for more; a client that failed, or sent nothing, tries again.
        hopeless = any(point.valid and point.sent for point in points) or len(points) >= INVALID_RUNS
        return None if hopeless else Probe(steps, None, plan.shortest, "idle")
    rate = _climb(plan, points, idle)
    if rate is not None:
        return _probe(plan, steps, rate, "climb")
    borders = [border(plan, one, points) for one in range(len(plan.deadlines)) if reachable(plan, one, idle)]
    ceiling = beyond_the_client(points)
    gaps = [(width, rate) for one in borders if (rate := _between(plan, one, idle, ceiling)) for width in [_width(one)]]
    if gaps:
        return _probe(plan, steps, max(gaps)[1], "bisect")
    votes = votes_at(plan, 0, points)
    ends = {rate for one in borders for rate in (one.meets, one.misses) if rate is not None}
    late = [point.rate for point in points if not point.valid]
    wanting = (rate for rate in ends if len(votes[rate]) < plan.repeats and late.count(rate) < INVALID_RUNS)
    again = sorted((len(votes[rate]), rate) for rate in wanting)
    return _probe(plan, steps, again[0][1], "repeat") if again else None


def _climb(plan: Plan, points: Sequence[Point], idle: Point) -> float | None:
    """The next rate upwards; None once one was overloaded, or is beyond the client.

    As long as no run is valid, the next one downwards, at once: the climb comes back to what the client failed at once.
    None where a lower rate would be too few requests to say anything.
    """
    loaded = [point for point in points if point.rate is not None]
    if any(point.valid and overloaded(plan, point, idle) for point in loaded):
        return None
    ceiling = beyond_the_client(points)
    done = [point.rate for point in loaded if point.rate is not None and point.valid]
    if done:
        rate = _round_rate_above(max(done))
        return rate if rate < ceiling else None
    late = [point.rate for point in loaded if point.rate is not None]
    if not late:
        return _round_rate_at_most(0.5 / idle.median)
    lowest = min(late)
    rate = max(_round_rate_at_most(lowest / DOWN), _round_rate_above(FEWEST / plan.longest))
    if rate < lowest:
        return rate
    return lowest if late.count(lowest) < INVALID_RUNS else None


def _between(plan: Plan, one: Border, idle: Point, ceiling: float) -> float | None:
    """A rate that would narrow the bracket; None: it is narrow enough, or has no end to search towards."""
    # Below the lowest rate that is missed, too, the client may fail; the same run again would not help.
    misses = min(ceiling, math.inf if one.misses is None else one.misses)
    if math.isinf(misses):
        return None
    if one.meets is None:
        floor = LOWEST / idle.median
        return rounded(max(misses / 2, floor)) if misses > floor * (1 + plan.resolution) else None
    if misses <= one.meets * (1 + plan.resolution):
        return None
    rate = rounded(math.sqrt(one.meets * misses))
    return rate if one.meets < rate < misses else None


def _width(one: Border) -> float:
    return math.inf if one.meets is None or one.misses is None else one.misses / one.meets


def beyond_the_client(points: Sequence[Point]) -> float:
    """The lowest rate that only runs with a late client were made at, INVALID_RUNS or more; infinite: none."""
    late = [point.rate for point in points if point.rate is not None and not point.valid]
    kept = {point.rate for point in points if point.valid}
    return min((rate for rate in late if late.count(rate) >= INVALID_RUNS and rate not in kept), default=math.inf)


def _probe(plan: Plan, steps: int, rate: float, phase: Phase) -> Probe:
    return Probe(steps, rate, min(max(plan.samples / rate, plan.shortest), plan.longest), phase)


def _round_rate_at_most(rate: float) -> float:
    """The largest of ... 0.5, 1, 2, 5, 10, 20 ... that is not above `rate`."""
    power = math.floor(math.log10(rate))
    return max(m * 10.0**k for m in (1, 2, 5) for k in (power - 1, power) if m * 10.0**k <= rate * (1 + 1e-9))


def _round_rate_above(rate: float) -> float:
    """The smallest of ... 0.5, 1, 2, 5, 10, 20 ... that is above `rate`."""
    power = math.floor(math.log10(rate))
    return min(m * 10.0**k for m in (1, 2, 5) for k in (power, power + 1) if m * 10.0**k > rate * (1 + 1e-9))

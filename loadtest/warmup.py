"""When a server has warmed: its latency has stopped moving. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

from loadtest.settings import Steps

FEWEST = 8
"""Replies that a stretch of time must hold to be compared."""

SHORTEST = 0.5
"""Seconds of a stretch."""

STRETCHES = 3
"""In a row whose medians must agree."""

AGREE = 0.15
"""Relative difference of medians that is still no movement."""

AGREE_SECONDS = 0.0005
"""And so is this difference in seconds, where latencies are that short."""


class Arrived(NamedTuple):
    """A good reply."""

    at: float
    latency: float
    steps: Steps


def settled(replies: Sequence[Arrived], now: float) -> bool:
    """Whether the latencies of the last `STRETCHES` stretches of time before `now` agree.

    Each latency counts relative to the median of its step count, so that a mix of quick and slow ones is judged as
    one. A stretch lasts `SHORTEST` seconds, or more: all together are half of the time since the first reply, and none
    holds fewer than `FEWEST`. Replies are in the order of their arrival. The queue of an overloaded server grows by
    the same all the time, which half of the time always shows: it never settles.
    """
    if not replies:
        return False
    shortest = max(SHORTEST, (now - replies[0].at) / (2 * STRETCHES))
    for length in (shortest * 2**k for k in range(8)):
        stretches = _stretches(replies, now, length)
        if stretches is None:
            return False
        if all(len(one) >= FEWEST for one in stretches):
            return _agree(stretches)
    return False


def _agree(stretches: list[list[Arrived]]) -> bool:
    everything = [one for stretch in stretches for one in stretch]
    usual = {
        steps: median(one.latency for one in everything if one.steps == steps)
        for steps in {one.steps for one in everything}
    }
    relative = [median(one.latency / usual[one.steps] for one in stretch) for stretch in stretches]
    slack = max(AGREE, AGREE_SECONDS / median(one.latency for one in everything))
    return max(relative) - min(relative) <= slack


def _stretches(replies: Sequence[Arrived], now: float, length: float) -> list[list[Arrived]] | None:
    """The replies of each of the last stretches; None: the first reply is not that long ago."""
    if replies[0].at > now - (STRETCHES - 0.5) * length:
        return None
    found: list[list[Arrived]] = [[] for _ in range(STRETCHES)]
    for one in reversed(replies):
        which = int((now - one.at) / length)
        if which >= STRETCHES:
            break
        found[max(0, which)].append(one)
    return found

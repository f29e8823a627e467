"""The window must not begin while latency still moves, and must begin when it does not."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable

from loadtest.result import Steps
from loadtest.warmup import Arrived, settled


def replies(latency: Callable[[float], float], rate: float, seconds: float, steps: Steps = 1) -> list[Arrived]:
    """At a constant rate, a tenth of noise on each."""
    rng = random.Random(0)
    times = (i / rate for i in itertools.count())
    return [
        Arrived(at, latency(at) * rng.uniform(0.9, 1.1), steps)
        for at in itertools.takewhile(lambda at: at < seconds, times)
    ]


def first(all_replies: list[Arrived], until: float = 30.0) -> float | None:
    """When it is seen to have settled, looking every tenth of a second."""
    for tenth in range(int(10 * until)):
        now = tenth / 10
        if settled([one for one in all_replies if one.at <= now], now):
            return now
    return None


def test_steady_latency_settles_soon() -> None:
    found = first(replies(lambda at: 0.05, rate=50, seconds=10))
    assert found is not None
    assert found < 2


def test_cold_start_is_waited_for() -> None:
    found = first(replies(lambda at: 0.05 if at > 3 else 0.4 - 0.1 * at, rate=50, seconds=10))
    assert found is not None
    assert 3 < found < 6


def test_growing_queue_never_settles() -> None:
    assert first(replies(lambda at: 0.05 + 0.2 * at, rate=50, seconds=8), 8) is None


def test_few_requests_are_waited_for() -> None:
    """At 4 per second, half a second says nothing."""
    found = first(replies(lambda at: 0.05, rate=4, seconds=30))
    assert found is not None
    assert found > 4


def test_mix_of_quick_and_slow_settles() -> None:
    """Half of each: the median of all jumps between the two, and says nothing."""
    quick = replies(lambda at: 0.01, rate=21, seconds=10)
    slow = replies(lambda at: 0.2, rate=20, seconds=10, steps=8)
    found = first(sorted(quick + slow))
    assert found is not None
    assert found < 3
    assert first(sorted(one._replace(steps=1) for one in quick + slow), 2.5) != found, "control: taken as one"


def test_nothing_has_not_settled() -> None:
    assert not settled([], 10.0)
    assert not settled([Arrived(0.0, 0.1, 1)], 10.0)

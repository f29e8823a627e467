"""The window must hold what was asked of it, so many requests and seconds of arrivals, whatever its warm-up did."""

from __future__ import annotations

import math

import pytest

from loadtest.comparison import per_second
from loadtest.measure import measure
from loadtest.settings import Settings

from .fake_server import fake_server


@pytest.mark.parametrize("warmup", [0.3, 0.0])
def test_warm_up_does_not_count_towards_the_requests(warmup: float) -> None:
    with fake_server() as url:
        run = measure(Settings(url, concurrency=1, requests=100, warmup=warmup, seconds=20, max_lateness=10))
    assert run.window.sent >= 100
    assert 0 < run.window.seconds < 20, "it ends when they were sent"
    assert run.warmup.seconds == pytest.approx(warmup)


def test_warm_up_that_does_not_settle_costs_no_arrivals() -> None:
    """6 replies are too few to settle; the window of 0.5 s begins when the longest warm-up ends, not a moment later."""
    with fake_server() as url:
        asked = Settings(
            url, rate=20, arrivals="constant", warmup=None, max_warmup=0.31, seconds=0.5, max_lateness=10, verify=0
        )
        run = measure(asked)
    assert run.warmup.stable is False
    assert run.warmup.seconds == pytest.approx(0.31)
    assert run.window.sent == 10


def test_throughput_counts_whole_seconds_of_the_window_alone() -> None:
    """A closed loop of 1.3 s whose replies take 0.4 s: its timeline goes on to the last reply, its rate does not."""
    with fake_server(delay=0.4) as url:
        run = measure(Settings(url, concurrency=4, warmup=0, seconds=1.3))
    assert max(second.at for second in run.timeline) >= 1, "control: there is more"
    counted = per_second(run)
    assert len(counted) == math.floor(run.window.seconds) == 1
    assert sum(counted) <= run.ok

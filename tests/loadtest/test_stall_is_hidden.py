"""Delays that a server injects must be what the tester measures, the stall included, which a closed loop hides."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from loadtest.measure import measure
from loadtest.result import Run
from loadtest.settings import Settings

from .fake_server import fake_server

pytestmark = pytest.mark.alone

RATE, SECONDS = 40.0, 5.0
CONSTANT = 0.4
QUICK, SLOW, SLOW_EVERY = 0.2, 1.0, 20
BASE, STALL, STALL_AFTER = 0.02, 2.5, 60


def run(connections: int = 512, concurrency: int | None = None, **behaviour: float) -> Run:
    with fake_server(**behaviour) as url:
        return measure(
            Settings(
                url,
                rate=None if concurrency else RATE,
                concurrency=concurrency,
                arrivals="constant",
                warmup=0.25,
                seconds=SECONDS,
                connections=connections,
            )
        )


@pytest.fixture(scope="module")
def runs() -> dict[str, Run]:
    """All at once: they sleep most of the time."""
    stalling = {"delay": BASE, "stall": STALL, "stall_after": STALL_AFTER}
    wanted: dict[str, Callable[[], Run]] = {
        "constant": lambda: run(delay=CONSTANT),
        "bimodal": lambda: run(delay=QUICK, slow=SLOW, slow_every=SLOW_EVERY),
        "stalling": lambda: run(**stalling),
        "stalling, closed": lambda: run(concurrency=1, **stalling),
        "stalling, few connections": lambda: run(connections=4, **stalling),
    }
    with ThreadPoolExecutor(len(wanted)) as pool:
        return dict(zip(wanted, pool.map(lambda make: make(), wanted.values())))


def p99(run: Run) -> float:
    [one] = run.steps
    assert one.latency.p99 is not None
    return one.latency.p99


def close(measured: float, truth: float) -> bool:
    """Within 5 % or 1 ms."""
    return abs(measured - truth) <= max(0.05 * truth, 0.001)


def stalled_truth() -> float:
    """The p99 of a schedule of which a part waits until the stall ends."""
    gaps = np.arange(RATE * SECONDS) / RATE
    latencies = np.sort(np.maximum(STALL - gaps, 0) + BASE)
    return float(latencies[math.ceil(0.99 * len(latencies)) - 1])


def test_constant_delay_is_what_is_measured(runs: dict[str, Run]) -> None:
    assert close(p99(runs["constant"]), CONSTANT)


def test_slow_mode_is_what_p99_shows(runs: dict[str, Run]) -> None:
    assert close(p99(runs["bimodal"]), SLOW)
    [one] = runs["bimodal"].steps
    assert one.latency.p50 is not None
    assert close(one.latency.p50, QUICK)


def test_stall_is_seen_by_those_who_should_have_been_sent_in_it(runs: dict[str, Run]) -> None:
    assert close(p99(runs["stalling"]), stalled_truth())
    assert runs["stalling"].window.sent == RATE * SECONDS


def test_control_a_closed_loop_hides_the_stall(runs: dict[str, Run]) -> None:
    """Its one client waited, and so sent nothing: one slow reply among many, below the hundredth part."""
    hidden = runs["stalling, closed"]
    assert p99(hidden) < 0.2 * stalled_truth()
    [one] = hidden.steps
    assert one.latency.max is not None
    assert close(one.latency.max, STALL + BASE)


def test_client_without_connections_counts_its_own_waiting(runs: dict[str, Run]) -> None:
    """Latency counts from the intended sending, even if the client could not send; the run says that it could not."""
    starved = runs["stalling, few connections"]
    # Behind the stall, 4 connections take 0.02 s for 4 requests: quick enough to add little.
    assert p99(starved) >= 0.95 * stalled_truth()
    [one] = starved.steps
    assert one.service.p50 is not None
    assert one.service.p50 < 0.2 * stalled_truth(), "the clock of the actual sending hides it"
    assert not starved.lateness.valid
    assert "connections" in starved.lateness.why

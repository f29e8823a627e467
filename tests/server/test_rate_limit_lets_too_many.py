"""`--rate`: no window of time has more requests of one client than the rate, and Retry-After tells the truth."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.http.limits import Limits, Windows

from .conftest import Start


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def crowded(times: list[float], amount: int, seconds: float) -> bool:
    """Whether some window of so many seconds has more than `amount` times."""
    return any(later - earlier < seconds for earlier, later in zip(times, times[amount:]))


@given(st.lists(st.tuples(st.floats(0, 0.7), st.sampled_from("ab")), max_size=200))
def test_no_window_has_more(asks: list[tuple[float, str]]) -> None:
    clock = Clock()
    limits = Limits("3/second;10/minute", clock)
    passed: dict[str, list[float]] = {"a": [], "b": []}
    for pause, client in asks:
        clock.now += pause
        if not limits.hit(client):
            passed[client].append(clock.now)
    for times in passed.values():
        assert not crowded(times, 3, 1.0)
        assert not crowded(times, 10, 60.0)


def test_control_windows_that_do_not_move_let_more_pass() -> None:
    counted: Counter[int] = Counter()
    passed = []
    for now in (0.9, 0.91, 0.92, 0.93, 1.0, 1.01, 1.02, 1.03):
        counted[int(now)] += 1
        if counted[int(now)] <= 3:
            passed.append(now)
    assert crowded(passed, 3, 1.0)


def test_who_comes_back_when_told_is_let_in() -> None:
    clock = Clock()
    limits = Limits("2/second;3/minute", clock)
    for _ in range(9):
        wait = limits.hit("a")
        if wait:
            clock.now += wait - 0.001
            assert limits.hit("a") == pytest.approx(0.001)
            clock.now += 0.001
            assert limits.hit("a") == 0.0


def test_refusals_do_not_use_up_the_rate() -> None:
    clock = Clock()
    limits = Limits("1/second;5/hour", clock)
    passed = 0
    for _ in range(100):
        passed += not limits.hit("a")
        clock.now += 0.05
    assert passed == 5  # one a second, whatever was refused between


def test_clients_do_not_share() -> None:
    limits = Limits("1/hour", Clock())
    assert [limits.hit(client) == 0.0 for client in "abca"] == [True, True, True, False]


def test_memory_is_bounded_and_the_quiet_are_forgotten_first() -> None:
    windows = Windows(Clock(), max_windows=10)
    for i in range(100):
        assert windows.acquire_entry("busy", 1000, 60)
        assert windows.acquire_entry(f"client {i}", 1, 60)
    assert len(windows) == 10
    assert windows.get_moving_window("busy", 1000, 60)[1] == 100


@pytest.mark.parametrize("rates", ["", "fast", "0/second", "-1/second", "10", "10/second;fast"])
def test_what_is_no_rate_is_refused(rates: str) -> None:
    with pytest.raises(ValueError, match="is not a rate: write N/second"):
        Limits(rates)


def test_server_refuses_at_the_rate(start: Start, images: Path) -> None:
    server = start(images, "--rate", "2/hour")
    answers = [server.client.get("/generate?seed=1") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    refused = answers[2]
    assert refused.json()["type"] == "urn:longjump:problem:rate-limit"
    assert refused.json()["retry_after_seconds"] <= int(refused.headers["retry-after"]) <= 3600
    images_refused = server.client.post("/v1/images/generations", json={"prompt": "cat"})
    assert images_refused.status_code == 429
    assert images_refused.json()["error"]["type"] == "rate_limit_error"
    # Probes and metrics are not counted.
    assert server.client.get("/readyz").status_code == 200
    assert server.metric('longjump_rejected_total{reason="rate-limit"}') == 2
    assert server.metric("longjump_requests_total") == 2

"""T(b) from noisy ticks: an outlier is forgiven, a change is followed, and the knee is where the curve bends."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.schedule.costs import KNEE_TOLERANCE, QUICK_RUN, Costs


def line(rows: int, alpha: float = 0.001, beta: float = 0.003) -> float:
    return alpha + beta * rows


def seen(max_rows: int, *sizes: int, times: int = 20) -> Costs:
    costs = Costs(max_rows)
    for _ in range(times):
        for rows in sizes:
            costs.observe(rows, line(rows))
    return costs


def test_a_stalled_tick_does_not_spoil_the_estimate() -> None:
    costs = seen(8, 1, 4)
    costs.observe(1, 3.0)
    assert costs.tick_seconds(1) < 1.06 * line(1)
    for _ in range(100):
        costs.observe(1, line(1))
    assert costs.tick_seconds(1) == pytest.approx(line(1), rel=0.01)


def test_a_slow_first_call_is_not_the_cost() -> None:
    costs = Costs(8)
    for seconds in (1.0, line(1), line(1)):
        costs.observe(1, seconds)
    assert costs.tick_seconds(1) == line(1)


def test_a_slow_first_call_makes_no_other_size_quicker() -> None:
    costs = Costs(8)
    for _ in range(3):
        costs.observe(1, 0.01)
    costs.observe(8, 0.4)  # a size that was not met before, cold
    costs.observe(1, 0.01)
    costs.observe(8, 0.05)
    told = Costs.from_dict(costs.to_dict())
    assert told.tick_seconds(1) == pytest.approx(0.01)
    assert told.tick_seconds(8) == pytest.approx(0.05)


def test_a_lasting_change_is_followed() -> None:
    costs = seen(8, 1)
    for _ in range(200):
        costs.observe(1, 3 * line(1))
    assert costs.tick_seconds(1) == pytest.approx(3 * line(1), rel=0.01)


def test_noise_does_not_move_the_knee_far() -> None:
    numbers = random.Random(0)
    costs = Costs(16)
    knees = []
    for _ in range(3000):
        rows = numbers.randint(1, 16)
        costs.observe(rows, line(rows) * numbers.lognormvariate(0, 0.1))
        knees.append(costs.knee)
    exact = seen(16, *range(1, 17)).knee
    assert all(abs(knee - exact) <= 3 for knee in knees[-1000:])


def busy_then_quiet(quick_run: int) -> Costs:
    """Costs measured while everything took five times as long, after some ticks of two rows of the quiet machine."""
    costs = Costs(16)
    for rows in (1, 2, 4, 8, 16):
        for _ in range(50):
            costs.observe(rows, 5 * line(rows))
    for _ in range(quick_run):
        costs.observe(2, line(2))
    return costs


def test_a_machine_that_became_quicker_is_believed_almost_at_once() -> None:
    costs = busy_then_quiet(QUICK_RUN)
    assert costs.tick_seconds(2) == pytest.approx(line(2))
    assert costs.tick_seconds(16) == pytest.approx(line(16)), "sizes that were not tried since are taken to follow"
    slow = busy_then_quiet(QUICK_RUN - 1)
    assert slow.tick_seconds(2) == pytest.approx(5 * line(2)), "one lucky tick is none"


def test_a_size_that_did_not_become_quicker_is_put_right_by_its_next_ticks() -> None:
    costs = busy_then_quiet(QUICK_RUN)
    for _ in range(20):
        costs.observe(16, 5 * line(16))
    assert costs.tick_seconds(16) == pytest.approx(5 * line(16), rel=0.2)


@pytest.mark.parametrize("restarts", [False, True])
def test_a_machine_that_is_slow_and_quick_in_turn_leaves_large_ticks_what_they_were(restarts: bool) -> None:
    """After single images for long T(16) fell below T(1), and bursts were let in for which there was no time."""
    costs = seen(16, 1, 2, 4, 8, 16)
    for number in range(200):
        costs.observe(1, (4, 1)[number // 20 % 2] * line(1))
        if restarts and number % 20 == 10:
            costs = Costs.from_dict(costs.to_dict())
    assert costs.tick_seconds(1) == pytest.approx(line(1), rel=0.1)
    assert costs.tick_seconds(16) == pytest.approx(line(16), rel=0.1)


def test_ticks_that_vary_are_not_taken_for_a_quicker_machine() -> None:
    """Their mean is what waiting is made of."""
    costs = Costs(4)
    for number in range(400):
        costs.observe(4, 0.010 if number % 4 else 0.006)
    assert costs.tick_seconds(4) == pytest.approx(0.010, rel=0.12)


def test_a_mean_that_hardly_moves_is_not_fitted_again(monkeypatch: pytest.MonkeyPatch) -> None:
    costs = seen(16, *range(1, 17))
    for _ in range(40):
        costs.observe(4, line(4))
    costs.tick_seconds(1)
    fits = 0

    def fit(points: object) -> tuple[float, float]:
        nonlocal fits
        fits += 1
        return 0.0, 1.0

    monkeypatch.setattr("server.schedule.costs._fit", fit)
    for number in range(100):
        costs.observe(4, line(4) * (1 + 0.01 * (-1) ** number))
        costs.tick_seconds(1)
    assert fits == 0
    costs.observe(4, 2 * line(4))
    costs.tick_seconds(1)
    assert fits == 1


def test_what_was_not_measured_lies_on_the_line() -> None:
    costs = seen(16, 1, 4)
    assert costs.tick_seconds(9) == pytest.approx(line(9))
    assert costs.tick_seconds(40) == pytest.approx(line(40)), "beyond max_rows too"


@given(st.lists(st.tuples(st.integers(1, 16), st.floats(1e-6, 10.0)), max_size=40), st.integers(1, 16))
def test_more_rows_are_never_cheaper(ticks: list[tuple[int, float]], max_rows: int) -> None:
    costs = Costs(max_rows)
    for rows, seconds in ticks:
        costs.observe(rows, seconds)
    curve = [costs.tick_seconds(rows) for rows in range(1, 20)]
    assert all(seconds > 0 for seconds in curve)
    assert curve == sorted(curve)
    assert 1 <= costs.calm_rows <= costs.knee <= max_rows
    best = max(rows / seconds for rows, seconds in enumerate(curve[:max_rows], start=1))
    assert 1 / costs.row_seconds >= (1 - KNEE_TOLERANCE) * best * (1 - 1e-9)


def test_the_knee_is_where_more_rows_stop_paying() -> None:
    flat = Costs(16)
    for rows in range(1, 17):
        flat.observe(rows, 0.01 if rows <= 8 else 0.01 * rows / 8)
    assert flat.knee == 8, "a device that takes eight rows at once"
    steep = Costs(16)
    for rows in range(1, 17):
        steep.observe(rows, 0.01 * rows)
    assert steep.knee == 1, "a device that gains nothing from batches"


def test_one_measurement_leads_to_larger_ticks_being_tried() -> None:
    """A knee of one row would never be measured again."""
    assert seen(16, 1).knee > 1


def test_unmeasured_costs_say_so() -> None:
    costs = Costs(4)
    assert not costs.known
    assert costs.row_seconds > 0
    for rows, seconds in ((0, 1.0), (5, 1.0), (2, 0.0), (2, -1.0), (2, float("nan")), (2, float("inf"))):
        costs.observe(rows, seconds)
    assert not costs.known
    costs.observe(2, 0.1)
    assert costs.known
    with pytest.raises(ValueError, match="at least 1 row, not 0"):
        Costs(0)


def test_service_is_counted_in_ticks_up_to_the_knee() -> None:
    costs = Costs(4)
    for rows in range(1, 5):
        costs.observe(rows, 0.01 if rows <= 2 else 0.01 * rows / 2)
    assert costs.knee == 2
    assert costs.service_seconds(1, 8) == pytest.approx(0.08)
    assert costs.service_seconds(5, 2) == pytest.approx(2 * (0.02 + 0.01))


def test_costs_survive_a_restart() -> None:
    costs = seen(8, 1, 2, 5)
    again = Costs.from_dict(json.loads(json.dumps(costs.to_dict())))
    assert [again.tick_seconds(rows) for rows in range(1, 12)] == pytest.approx(
        [costs.tick_seconds(rows) for rows in range(1, 12)]
    )
    assert again.knee == costs.knee
    narrow = Costs.from_dict(costs.to_dict(), max_rows=2)
    assert narrow.max_rows == 2
    assert narrow.tick_seconds(2) == line(2)


GOOD = {"max_rows": 4, "ticks": {"1": [0.01, 5]}}


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        "costs",
        {},
        {"max_rows": 4},
        {**GOOD, "max_rows": 0},
        {**GOOD, "max_rows": True},
        {**GOOD, "max_rows": 2.5},
        {**GOOD, "ticks": [1]},
        {**GOOD, "ticks": {"x": [0.01, 5]}},
        {**GOOD, "ticks": {"0": [0.01, 5]}},
        {**GOOD, "ticks": {"1": [0.01]}},
        {**GOOD, "ticks": {"1": [0, 5]}},
        {**GOOD, "ticks": {"1": [float("nan"), 5]}},
        {**GOOD, "ticks": {"1": ["fast", 5]}},
        {**GOOD, "ticks": {"1": [0.01, 0]}},
    ],
)
def test_damaged_costs_are_refused(document: object) -> None:
    assert Costs.from_dict(GOOD).known
    with pytest.raises(ValueError, match="not measured costs"):
        Costs.from_dict(document)

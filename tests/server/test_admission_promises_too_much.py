"""Admission lets in what can be done in time, with the steps that fit, and says when the rest may come back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from export.runtime.bundle import open_bundle
from export.runtime.grids import flow_grid, renoise_grid
from export.runtime.manifest import Manifest
from server.jobs import Priority
from server.schedule.admission import (
    SAFETY,
    WAIT_SHARE,
    Admitted,
    Backlog,
    Bounds,
    Refused,
    Wanted,
    auto_choices,
    decide,
)
from server.schedule.costs import Costs
from server.schedule.policy import QUANTUM
from server.schedule.simulator import Run, measured, simulate, traffic

WIDE = Bounds(max_requests=1000, max_row_steps=100_000, max_bytes=1 << 30)
NOW = 100.0


def tick_seconds(rows: int) -> float:
    return 0.001 + 0.003 * rows


COSTS = measured(4, tick_seconds)
ONE = Wanted("a", "interactive", 1, (1,), NOW)


def backlog_of(row_steps: int, client: str = "a", priority: Priority = "interactive") -> Backlog:
    backlog = Backlog()
    if row_steps:
        backlog.add(priority, client, row_steps)
    return backlog


def answer(
    wanted: Wanted, backlog: Backlog | None = None, workers: int = 1, bounds: Bounds = WIDE
) -> Admitted | Refused:
    return decide(wanted, backlog or Backlog(), COSTS, workers, bounds, NOW)


def test_idle_server_admits_with_the_default_deadline() -> None:
    got = answer(ONE)
    assert isinstance(got, Admitted)
    assert (got.steps, got.deadline, got.predicted_wait) == (1, NOW + 1.0, 0.0)
    assert NOW < got.due < got.deadline
    batch = answer(replace(ONE, priority="batch"))
    assert isinstance(batch, Admitted)
    assert batch.deadline == NOW + 60.0


def test_refused_request_fits_after_retry_after_and_not_before() -> None:
    full = int(0.8 / COSTS.row_seconds)
    got = answer(ONE, backlog_of(full))
    assert isinstance(got, Refused)
    assert got.reason == "deadline"
    assert got.predicted_wait == pytest.approx(full * COSTS.row_seconds)
    assert got.retry_after is not None
    drained = got.retry_after / COSTS.row_seconds
    assert isinstance(answer(ONE, backlog_of(int(full - drained))), Admitted)
    assert isinstance(answer(ONE, backlog_of(int(full - drained) + 2)), Refused), "control"
    assert isinstance(answer(ONE, backlog_of(full), workers=2), Admitted), "two workers drain it in half of the time"


def test_deadline_counts_from_arrival() -> None:
    waits = backlog_of(int(0.3 / COSTS.row_seconds))
    assert isinstance(answer(ONE, waits), Admitted)
    assert isinstance(answer(replace(ONE, arrival=NOW - 0.9), waits), Refused), "0.9 s of its second are gone"


def test_long_requests_are_not_squeezed_out_by_short_ones() -> None:
    """Short ones may not fill the server so far that those of eight steps never fit."""
    eight = replace(ONE, steps=(8,))
    for row_steps in range(int(1.0 / COSTS.row_seconds)):
        backlog = backlog_of(row_steps)
        assert isinstance(answer(ONE, backlog), Admitted) == isinstance(answer(eight, backlog), Admitted)


def test_work_longer_than_the_default_deadline_is_admitted_unless_a_deadline_was_given() -> None:
    long = replace(ONE, rows=16, steps=(128,))
    alone = COSTS.service_seconds(16, 128)
    assert alone > 1.0
    for backlog in (Backlog(), backlog_of(8)):
        got = answer(long, backlog)
        assert isinstance(got, Admitted)
        assert got.deadline > NOW + alone
    refused = answer(replace(long, deadline=0.9 * alone))
    assert refused == Refused("impossible", 0.0, None)
    assert isinstance(answer(replace(long, deadline=2 * alone)), Admitted)


def test_auto_takes_the_best_that_fits() -> None:
    auto = replace(ONE, rows=4, steps=(8, 4, 1), deadline=0.08)
    assert answer(replace(auto, deadline=1.0)) == answer(replace(auto, steps=(8,), deadline=1.0))
    taken = answer(auto)
    assert isinstance(taken, Admitted)
    assert taken.steps == 4
    never = answer(replace(auto, deadline=0.001))
    assert isinstance(never, Refused)
    assert never.retry_after is None
    small = answer(replace(auto, deadline=1.0), bounds=replace(WIDE, max_row_steps=20), backlog=backlog_of(2))
    assert isinstance(small, Admitted)
    assert small.steps == 4, "eight are too many for the bound"


@pytest.mark.parametrize("bound", ["requests", "row_steps", "bytes"])
def test_bounds_hold_but_for_the_only_request(bound: str) -> None:
    bounds = replace(WIDE, **{f"max_{bound}": 3})
    big = replace(ONE, steps=(4,), size=4)
    if bound != "requests":
        assert isinstance(answer(big, bounds=bounds), Admitted), "an empty server takes any one request"
    backlog = Backlog()
    for _ in range(3):
        backlog.add("interactive", "a", 1, 1)
    got = answer(replace(ONE, size=1), backlog, bounds=bounds)
    assert isinstance(got, Refused)
    assert got.reason == bound
    assert got.retry_after == pytest.approx(COSTS.row_seconds)
    backlog.remove("interactive", "a", 1, 1)
    assert isinstance(answer(replace(ONE, size=1), backlog, bounds=bounds), Admitted)


def test_upload_larger_than_the_bound_waits_for_an_empty_server() -> None:
    got = answer(replace(ONE, size=10), backlog_of(5), bounds=replace(WIDE, max_bytes=4))
    assert isinstance(got, Refused)
    assert (got.reason, got.retry_after) == ("bytes", pytest.approx(5 * COSTS.row_seconds))


def test_unknown_costs_promise_nothing_and_refuse_by_bounds_only() -> None:
    unknown = Costs(4)
    wanted = replace(ONE, deadline=0.05)
    assert isinstance(decide(wanted, backlog_of(10_000), unknown, 1, WIDE, NOW), Admitted)
    assert isinstance(decide(wanted, backlog_of(10_000), COSTS, 1, WIDE, NOW), Refused), "control"
    full = decide(wanted, backlog_of(10_000), unknown, 1, replace(WIDE, max_row_steps=100), NOW)
    assert isinstance(full, Refused)
    assert full.reason == "row_steps"


def test_interactive_work_does_not_wait_for_batch_work() -> None:
    backlog = backlog_of(5000, priority="batch")
    assert backlog.ahead_of("a", "interactive", 1) == 0
    assert backlog.ahead_of("a", "batch", 1) == 5000
    backlog.add("interactive", "b", 7)
    assert backlog.ahead_of("a", "batch", 1) == 5007


def test_a_client_does_not_wait_for_all_of_a_crowd() -> None:
    backlog = backlog_of(5000, client="crowd")
    assert backlog.ahead_of("guest", "interactive", 8) == 8 + QUANTUM
    assert backlog.ahead_of("crowd", "interactive", 8) == 5000


@given(st.lists(st.tuples(st.sampled_from(["interactive", "batch"]), st.sampled_from("abc"), st.integers(1, 50))))
def test_backlog_is_exact(work: list[tuple[Priority, str, int]]) -> None:
    backlog = Backlog()
    for priority, client, row_steps in work:
        backlog.add(priority, client, row_steps, 2)
    assert (backlog.requests, backlog.bytes) == (len(work), 2 * len(work))
    assert backlog.total == sum(row_steps for *_, row_steps in work)
    assert backlog.total == backlog.row_steps("interactive") + backlog.row_steps("batch")
    for priority, client, row_steps in work:
        backlog.remove(priority, client, row_steps, 2)
    assert (backlog.requests, backlog.total, backlog.bytes) == (0, 0, 0)
    assert backlog.ahead_of("a", "batch", 1) == 0


@pytest.fixture
def manifest(images: Path) -> Manifest:
    """Steps 1, 2 (re-noises), 4 (flow) and 8 (re-noises)."""
    grids = {"1": flow_grid(1), "2": renoise_grid([1.0, 0.5]), "4": flow_grid(4)}
    grids["8"] = renoise_grid([1 - i / 8 for i in range(8)])
    plain = {steps: [list(step) for step in grid] for steps, grid in grids.items()}
    return open_bundle(images).manifest.model_copy(update={"grids": plain, "steps": [1, 2, 4, 8]})


def test_auto_chooses_by_measured_quality(manifest: Manifest) -> None:
    assert auto_choices(manifest) == [4, 2, 1], "unmeasured: eight re-noising steps are too many"
    assert auto_choices(manifest, max_steps=2) == [2, 1]
    assert auto_choices(manifest, min_steps=8) == [8], "there is nothing else"
    quality = {"settings": {"samples": 10_000}, "1": {"fd": 30.0}, "2": {"fd": 20.0}, "4": {"fd": 25.0}, "8": {"fd": 9}}
    assert auto_choices(manifest.model_copy(update={"quality": quality})) == [8, 2, 4, 1]
    some = manifest.model_copy(update={"quality": {"steps": {"1": 3.0, "2": None, "4": {"fd": "low"}}}})
    assert auto_choices(some) == [1, 4, 2]
    with pytest.raises(ValueError, match="no step count from 5 to 7 is supported"):
        auto_choices(manifest, 5, 7)


def test_auto_compares_two_kinds_of_distance(manifest: Manifest) -> None:
    """3 and 9 of one are not better than 20 and 25 of another."""
    mixed = {"1": {"fd": 3.0}, "2": {"fid": 20.0}, "4": {"fid": 25.0}, "8": {"fd": 9.0, "fid": 5.0}}
    assert auto_choices(manifest.model_copy(update={"quality": mixed})) == [8, 2, 4, 1]
    assert auto_choices(manifest.model_copy(update={"quality": {"steps": mixed}}), max_steps=1) == [1]
    both = {steps: {"fd": float(steps), "fid": -float(steps)} for steps in ("1", "2", "4", "8")}
    assert auto_choices(manifest.model_copy(update={"quality": both})) == [1, 2, 4, 8]


def overload(costs: Costs) -> Run:
    """Twice what a worker can do, from twelve clients."""
    rate = 2 / measured(16, tick_seconds).row_seconds / 1.7
    return simulate(list(traffic([(1, 0.9), (8, 0.1)], rate, 5.0, clients=12)), costs, tick_seconds)


def test_overload_does_not_waste_capacity() -> None:
    costs = measured(16, tick_seconds)
    seen = overload(costs)
    done = [one for one in seen.outcomes if one.in_time and 1.0 < (one.finished or 0.0) <= 5.0]
    assert sum(one.steps or 0 for one in done) / 4.0 >= 0.95 / costs.row_seconds
    assert all(one.in_time for one in seen.outcomes if one.fate != "refused"), "what was admitted is done in time"


def test_without_admission_long_requests_wait_in_vain() -> None:
    """Control."""
    unknown = Costs(16)
    unknown.observe = lambda rows, seconds: None  # type: ignore[method-assign]
    fates = [one.fate for one in overload(unknown).outcomes if one.wanted.steps == [8]]
    assert fates.count("expired") > 0.5 * len(fates)


def test_no_step_count_is_refused_much_more_often_than_another() -> None:
    seen = overload(measured(16, tick_seconds))
    refused: dict[int, list[bool]] = {1: [], 8: []}
    for one in seen.outcomes:
        refused[one.wanted.steps[0]].append(one.fate == "refused")
    shares = [sum(fates) / len(fates) for fates in refused.values()]
    assert max(shares) < 1.5 * min(shares)


def test_the_bounds_of_a_plan_leave_time_for_the_way_back() -> None:
    assert WAIT_SHARE < SAFETY < 1.0

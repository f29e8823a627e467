"""Random traffic through policy, queue and admission: nobody is lost, starved, or passed by an equal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.schedule.admission import Wanted
from server.schedule.policy import MAX_IDLE, QUANTUM, Policy, Row, Shares, State, order_key, pick, virtual_deadline
from server.schedule.simulator import Run, measured, simulate, traffic
from server.simulate import percentile

QUICK = settings(max_examples=60, deadline=None)


def tick_seconds(rows: int) -> float:
    return 0.001 + 0.003 * rows


MAX_ROWS = 4


class Checked:
    """A policy that looks into every tick before it lets another policy decide."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy

    def __call__(self, state: State, now: float) -> list[Row]:
        picked = self.policy(state, now)
        keys = [(row.request, row.sample) for row in picked]
        assert len(set(keys)) == len(keys), "a row is picked twice"
        assert set(picked) <= set(state.rows), "a picked row is not there"
        assert len(picked) == 1 or sum(row.width for row in picked) <= state.max_rows, "a tick is too large"
        return picked


def run(arrivals: Sequence[Wanted], policy: Policy = pick, workers: int = 1) -> Run:
    costs = measured(MAX_ROWS, tick_seconds)
    costs.observe = lambda rows, seconds: None  # type: ignore[method-assign]
    return simulate(arrivals, costs, tick_seconds, workers, policy=Checked(policy))


def check(seen: Run) -> None:
    """What holds for any traffic."""
    for outcome in seen.outcomes:
        assert outcome.fate is not None, "a request is lost"
        if outcome.fate == "expired":
            assert outcome.started is None, "work was begun and dropped"
        if outcome.fate == "answered":
            assert outcome.started is not None
            assert outcome.deadline is not None
            assert outcome.started <= outcome.deadline, "begun after its deadline"
    answered = sum(one.wanted.rows * (one.steps or 0) for one in seen.outcomes if one.fate == "answered")
    assert sum(seen.tick_rows) == answered, "row-steps were run for nothing, or not at all"


def check_equals_in_order(seen: Run) -> None:
    """Of one client's equal requests the earlier is done first. With one worker."""
    last: dict[object, float] = {}
    for outcome in seen.outcomes:
        if outcome.fate == "answered":
            same = replace(outcome.wanted, arrival=0.0, steps=tuple(outcome.wanted.steps))
            assert outcome.finished is not None
            assert last.get(same, 0.0) <= outcome.finished, "a request was overtaken by an equal one"
            last[same] = outcome.finished


@st.composite
def arrivals(draw: st.DrawFn) -> list[Wanted]:
    requests = []
    now = 0.0
    for _ in range(draw(st.integers(1, 40))):
        now += draw(st.sampled_from([0.0, 0.0, 0.001, 0.005, 0.05]))
        requests.append(
            Wanted(
                client=draw(st.sampled_from("abc")),
                priority=draw(st.sampled_from(["interactive", "interactive", "batch"])),
                rows=draw(st.sampled_from([1, 1, 1, 2, 7])),
                steps=(draw(st.sampled_from([1, 1, 2, 8])),),
                arrival=now,
                deadline=draw(st.sampled_from([None, None, 0.02, 0.2])),
            )
        )
    return requests


@QUICK
@given(arrivals(), st.integers(1, 3))
def test_nothing_is_lost_and_bounds_are_kept(requests: list[Wanted], workers: int) -> None:
    check(run(requests, workers=workers))


@QUICK
@given(arrivals())
def test_equal_requests_finish_in_order(requests: list[Wanted]) -> None:
    check_equals_in_order(run(requests))


def last_come(state: State, now: float) -> list[Row]:
    return sorted(state.rows, key=lambda row: -row.request)[: state.max_rows]


def forgetful(state: State, now: float) -> list[Row]:
    return pick(replace(state, rows=[row for row in state.rows if row.request != 3]), now)


def greedy(state: State, now: float) -> list[Row]:
    return list(state.rows)


@pytest.mark.parametrize("broken", [last_come, forgetful, greedy])
def test_broken_policies_are_caught(broken: Policy) -> None:
    """Control."""
    requests = [Wanted("a", "interactive", 1, (8,), 0.0) for _ in range(12)]

    def checked(policy: Policy) -> None:
        seen = run(requests, policy)
        check(seen)
        check_equals_in_order(seen)

    checked(pick)
    with pytest.raises(AssertionError):
        checked(broken)


FLOOD = 2 * MAX_ROWS / tick_seconds(MAX_ROWS)
"""Requests of one step per second that are twice what a worker can do."""


def flood(of: Callable[[int], Wanted], seconds: float) -> list[Wanted]:
    return [of(number) for number in range(int(seconds * FLOOD))]


def test_batch_work_is_done_under_a_flood_of_interactive_work() -> None:
    def passer_by(number: int) -> Wanted:
        return Wanted("rest", "interactive", 1, (1,), number / FLOOD)

    batch = Wanted("b", "batch", 1, (4,), 0.0, deadline=6.0)

    def interactive_only(state: State, now: float) -> list[Row]:
        interactive = [row for row in state.rows if row.priority == "interactive"]
        return pick(replace(state, rows=interactive or state.rows), now)

    requests = [batch, *flood(passer_by, 5.0)]
    patient = run(requests)
    check(patient)
    assert patient.outcomes[0].in_time
    control = run(requests, interactive_only).outcomes[0]
    assert control.finished is None or patient.outcomes[0].finished < control.finished  # type: ignore[operator]


def test_newcomers_do_not_wait_behind_the_crowd_of_another_client() -> None:
    crowd = flood(lambda number: Wanted("crowd", "interactive", 1, (1,), number / FLOOD), 3.0)

    def waits(client: str) -> list[float]:
        """Of requests that come while the crowd has filled the server, those of one client."""
        guests = [Wanted(client, "interactive", 1, (1,), 1.0 + number / 10) for number in range(20)]
        seen = run(sorted([*crowd, *guests], key=lambda wanted: wanted.arrival))
        check(seen)
        guests_arrive = {guest.arrival for guest in guests}
        own = [one for one in seen.outcomes if one.wanted.arrival in guests_arrive and one.wanted.client == client]
        return [one.latency for one in own if one.fate == "answered"]

    fair, control = waits("guest"), waits("crowd")
    assert len(fair) == 20
    assert sum(fair) / len(fair) < 0.25 * sum(control) / len(control)


def test_one_step_requests_do_not_wait_behind_eight_step_ones() -> None:
    requests = list(traffic([(1, 0.9), (8, 0.1)], 270.0, 8.0))

    def first_come(state: State, now: float) -> list[Row]:
        return sorted(state.rows, key=lambda row: (row.arrival, row.request))[: state.max_rows]

    def p99(policy: Policy, steps: int) -> float:
        outcomes = run(requests, policy, workers=2).outcomes
        return percentile(sorted(one.latency for one in outcomes if one.finished and one.steps == steps), 0.99) or 0.0

    assert p99(pick, 1) < 0.7 * p99(first_come, 1)
    assert p99(pick, 8) < 2.0 * p99(first_come, 8), "nor the others for ever behind them"


def test_absence_earns_no_credit() -> None:
    shares = Shares()
    shares.arrive("crowd")
    shares.charge("crowd", 10 * QUANTUM)
    shares.arrive("guest")
    assert shares.level("guest") == shares.level("crowd")
    shares.charge("crowd", QUANTUM)
    assert shares.level("guest") < shares.level("crowd")
    shares.charge("guest", 5 * QUANTUM)
    shares.leave("guest")
    shares.arrive("guest")
    assert shares.level("guest") > shares.level("crowd"), "nor does it pay a debt"


def row(request: int, due: float, **other: object) -> Row:
    fields = {"sample": 0, "client": "a", "priority": "interactive", "arrival": 0.0, "deadline": 1.0, "steps": 1}
    return Row(**{"request": request, "due": due, "done": 0, **fields, **other})  # type: ignore[arg-type]


def test_the_order_is_class_then_share_then_deadline_then_id() -> None:
    shares = Shares()
    shares.arrive("heavy")
    shares.arrive("a")
    shares.charge("heavy", 1000)
    ordered = [
        row(9, due=0.9, deadline=0.1, client="heavy"),  # late
        row(5, due=0.1),
        row(1, due=0.2),
        row(6, due=0.2),
        row(2, due=0.0, client="heavy"),
        row(3, due=0.0, priority="batch"),
        row(4, due=0.0, priority="batch", client="heavy"),
    ]
    mixed = ordered[::2] + ordered[1::2]
    assert sorted(mixed, key=lambda one: order_key(one, 0.2, shares)) == ordered
    urgent = order_key(ordered[5], 0.5, shares)
    assert urgent < order_key(ordered[1], 0.5, shares), "half of its time is gone"


def test_shares_do_not_grow_with_every_client_ever_seen() -> None:
    shares = Shares()
    shares.arrive("stays")
    for number in range(3 * MAX_IDLE):
        shares.arrive(f"client {number}")
        shares.charge(f"client {number}", 5)
        shares.leave(f"client {number}")
    assert len(shares) <= MAX_IDLE + 2
    shares.leave("stays")
    assert len(shares) == 0
    shares.charge("stays", 5)
    assert len(shares) == 0


def test_wide_rows_fit_into_a_tick() -> None:
    rows = [row(1, 0.1), row(2, 0.2, width=2), row(3, 0.3, width=2), row(4, 0.4)]
    assert pick(State(rows, 3, Shares()), 0.0) == rows[:2]
    assert pick(State(rows, 4, Shares()), 0.0) == [rows[0], rows[1], rows[3]]
    assert pick(State(rows[1:], 1, Shares()), 0.0) == [rows[1]], "wider than any tick, and taken all the same"


def test_ticks_are_small_until_work_piles_up() -> None:
    rows = [row(number, number) for number in range(20)]
    assert len(pick(State(rows[:8], 4, Shares(), calm_rows=2), 0.0)) == 2
    assert len(pick(State(rows[:9], 4, Shares(), calm_rows=2), 0.0)) == 4
    assert len(pick(State(rows[:6], 4, Shares()), 0.0)) == 4


def test_a_virtual_deadline_is_never_after_the_explicit_one() -> None:
    assert virtual_deadline(1.0, 0.1, None, stretch=10) == 2.0
    assert virtual_deadline(1.0, 0.1, 1.5, stretch=10) == 1.5
    assert virtual_deadline(1.0, 0.1, 9.0, stretch=10) == 2.0

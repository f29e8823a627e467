"""The rates a sweep measures, and the border it finds, against queues whose truth is known; no clock, no server."""

from __future__ import annotations

import math
import random

import pytest

from loadtest.sweep.borders import Plan, Point, border, meets, spread
from loadtest.sweep.policy import PHASES, Done, Probe, next_probe
from tests.loadtest.queues import Sample, border_of, md1, sweep

PLAN = Plan(steps=(1, 2, 4, 8), deadlines=(0.05, 0.1, 0.2), budget=540)


def service(steps: int) -> float:
    return 0.003 + 0.003 * steps


QUEUE = md1(service)

TOLERANCE = 0.15
"""Of the mean error of a sweep's borders, relative."""


def point(rate: float, late: int = 0, sent: int = 300, valid: bool = True) -> Point:
    within = (sent - late,) * len(PLAN.deadlines)
    return Point(1, rate, sent, sent, within, 0.006, valid)


@pytest.mark.parametrize("seed", range(2))
def test_border_of_a_queue_is_found(seed: int) -> None:
    """Runs of seconds see a few hundred requests each: single borders err, their mean does not."""
    swept = sweep(PLAN, QUEUE, seed)
    errors, covered = [], []
    for steps in PLAN.steps:
        for number, deadline in enumerate(PLAN.deadlines):
            if (steps, deadline) == (8, 0.05):
                continue  # met at fewer than 2 requests per second, which no run of seconds can say
            truth = border_of(QUEUE, steps, deadline)
            found, (low, high) = border(PLAN, number, swept.of(steps)), spread(PLAN, number, swept.of(steps))
            assert found.meets is not None
            errors.append(math.log(found.meets / truth))
            covered.append((low or 0) <= truth <= (high or math.inf))
    assert max(map(abs, errors)) < 0.5
    assert abs(sum(errors) / len(errors)) < TOLERANCE
    assert sum(covered) >= 8, "of 11 intervals of 90 %"


def test_a_slower_server_has_another_border() -> None:
    """Negative control: the tolerance above would notice a server that is slower by 30 %."""
    errors = [
        math.log(border_of(md1(lambda k: 1.3 * service(k)), steps, deadline) / border_of(QUEUE, steps, deadline))
        for steps, deadline in ((1, 0.05), (1, 0.2), (4, 0.1))
    ]
    assert abs(sum(errors) / len(errors)) > TOLERANCE


@pytest.mark.parametrize("budget", [60.0, 200.0, 540.0])
def test_time_is_bounded(budget: float) -> None:
    swept = sweep(Plan((1, 2, 4, 8), (0.05, 0.1, 0.2), budget=budget), md1(service))
    assert swept.elapsed <= budget
    assert not swept.complete


def test_every_step_count_gets_its_share_of_a_short_sweep() -> None:
    swept = sweep(Plan((1, 2, 4, 8), (0.05, 0.1, 0.2), budget=90), md1(service))
    counts = [len(swept.of(steps)) for steps in PLAN.steps]
    assert max(counts) - min(counts) <= 2
    phases = [PHASES.index(probe.phase) for probe in swept.probes]
    assert phases == sorted(phases)


def test_sweep_without_hurry_is_complete() -> None:
    plan = Plan((1, 4), (0.1,), budget=5000)
    swept = sweep(plan, md1(service))
    assert swept.complete
    for steps in plan.steps:
        one = border(plan, 0, swept.of(steps))
        assert one.runs >= plan.repeats
        assert one.meets
        assert one.misses
        assert one.misses <= one.meets * (1 + plan.resolution)


def test_one_stall_does_not_decide() -> None:
    """A run at half load loses 5 % of its requests; the border stays where it was."""
    steady, stalled = md1(service), []

    def stalling(steps: int, rate: float | None, seconds: float, rng: random.Random) -> list[float]:
        latencies = steady(steps, rate, seconds, rng)
        if rate and rate < 60 and not stalled:
            stalled.append(rate)
            latencies[: len(latencies) // 20 + 1] = [2.0] * (len(latencies) // 20 + 1)
        return latencies

    plan = Plan((1,), (0.1,), budget=600)
    swept = sweep(plan, stalling)
    assert stalled
    found = border(plan, 0, swept.of(1)).meets
    assert found == pytest.approx(border_of(steady, 1, 0.1), rel=0.3)


def test_one_lucky_run_promises_nothing() -> None:
    """Two runs at 200 per second, one of them late: in doubt is not promised."""
    runs = [point(100), point(200), point(200, late=30), point(500, late=200)]
    found = border(PLAN, 0, runs)
    assert (found.meets, found.misses) == (100, 200)
    assert border(PLAN, 0, [*runs, point(200)]).meets == 200


def test_share_is_counted_not_rounded() -> None:
    assert meets(PLAN, 0, point(50, late=3))
    assert not meets(PLAN, 0, point(50, late=4))
    assert not meets(PLAN, 0, point(5, late=1, sent=75)), "1 of 75 is more than 1 %"
    assert not meets(PLAN, 0, point(5, sent=0))


def test_deadline_below_the_idle_latency_is_not_searched() -> None:
    plan = Plan((8,), (0.005, 0.2), budget=1000)
    swept = sweep(plan, md1(service))
    assert border(plan, 0, swept.of(8)).meets is None
    only = sweep(Plan((8,), (0.2,), budget=1000), md1(service))
    assert len(swept.probes) <= len(only.probes) + 2


def refuses(limit: float) -> Sample:
    """Quick up to a limit; beyond it, what is too much is refused at once."""

    def sample(steps: int, rate: float | None, seconds: float, rng: random.Random) -> list[float]:
        sent = round((rate or 150) * seconds)
        return [0.006 if rng.random() < min(1, limit / (rate or 1)) else math.inf for _ in range(sent)]

    return sample


def test_refusals_count_as_late() -> None:
    plan = Plan((1,), (0.1,), budget=400)
    found = border(plan, 0, sweep(plan, refuses(130.0)).of(1)).meets
    assert found == pytest.approx(130, rel=0.25)


def test_server_without_a_limit_ends_at_the_clients() -> None:
    """A server quicker than the client: rates whose runs are invalid are not votes, and bound the climb."""
    plan = Plan((1,), (0.1,), budget=400)
    swept = sweep(plan, refuses(1e9), valid=lambda probe: not probe.rate or probe.rate <= 600)
    found = border(plan, 0, swept.of(1))
    assert found.meets == pytest.approx(600, rel=0.25)
    assert found.misses is None
    assert spread(plan, 0, swept.of(1))[1] is None
    assert swept.complete


def test_rate_that_the_client_never_keeps_is_not_tried_for_ever() -> None:
    """A client that stumbles at some rates only: they get two runs each, and the sweep ends."""
    plan = Plan((1,), (0.1,), budget=5000)
    swept = sweep(plan, QUEUE, valid=lambda probe: not probe.rate or not 120 < probe.rate < 160)
    late = [point.rate for point in swept.points if not point.valid]
    assert late
    assert max(late.count(rate) for rate in late) <= 2
    assert swept.complete
    assert len(swept.points) < 30


@pytest.mark.parametrize("kept", [30.0, 7.0, 1.2])
def test_client_that_cannot_keep_the_first_rate_is_given_lower_ones(kept: float) -> None:
    """One request at a time makes 160 per second, so the first rate is 50; this client keeps fewer, or far fewer."""
    plan = Plan((1,), (0.1,), budget=1000)
    swept = sweep(plan, refuses(1e9), valid=lambda probe: not probe.rate or probe.rate <= kept)
    found = border(plan, 0, swept.of(1))
    assert found.meets == pytest.approx(kept, rel=0.35)
    assert found.meets <= kept
    assert found.misses is None
    assert swept.complete
    late = [point.rate for point in swept.points if not point.valid]
    assert max(late.count(rate) for rate in late) <= 2
    tried = [probe.rate for probe in swept.probes if probe.rate]
    assert tried[1] < tried[0] / 3, "a lower rate at once, so that a short sweep has an answer too"


def test_stumble_at_the_first_rate_is_made_good() -> None:
    """One invalid run at the first rate sends the climb down, and up again past it."""
    plan = Plan((1,), (0.1,), budget=1000)
    once: list[float] = []

    def valid(probe: Probe) -> bool:
        if probe.rate and not once:
            once.append(probe.rate)
            return False
        return True

    swept = sweep(plan, QUEUE, valid=valid)
    assert border(plan, 0, swept.of(1)).meets == pytest.approx(border_of(QUEUE, 1, 0.1), rel=0.3)
    tried = [probe.rate for probe in swept.probes if probe.rate]
    assert tried[1] < tried[0]
    assert once[0] in tried[2:]


def test_client_that_keeps_no_rate_ends_the_sweep() -> None:
    plan = Plan((1,), (0.1,), budget=5000)
    swept = sweep(plan, QUEUE, valid=lambda probe: not probe.rate)
    tried = [probe.rate for probe in swept.probes if probe.rate]
    assert tried == sorted(tried, reverse=True)
    assert min(tried) == 1
    assert swept.complete
    assert len(swept.points) < 15


@pytest.mark.parametrize("failing", [1, 2])
def test_client_that_fails_on_the_idle_server_is_tried_once_more(failing: int) -> None:
    plan = Plan((1,), (0.1,), budget=400)
    tries = []

    def valid(probe: Probe) -> bool:
        tries.append(probe.rate)
        return len(tries) > failing

    sweep(plan, QUEUE, valid=valid)
    assert tries[:2] == [None, None]
    assert (len(tries) > 2) == (failing == 1)


def test_dead_server_is_not_asked_for_ever() -> None:
    swept = sweep(PLAN, lambda *_: [math.inf] * 10)
    assert [probe.phase for probe in swept.probes] == ["idle"] * 4
    assert swept.complete


def test_idle_run_that_sent_nothing_is_made_again() -> None:
    """An empty window says nothing of the server; one with requests and no good reply does."""
    plan = Plan(steps=(1,), deadlines=(0.05,), budget=60)
    nothing, refused = (Point(1, None, sent, 0, (0,), math.nan) for sent in (0, 20))
    again = next_probe(plan, [nothing], 10.0)
    assert isinstance(again, Probe)
    assert again.phase == "idle"
    assert next_probe(plan, [nothing, nothing], 10.0) == Done(complete=True)
    assert next_probe(plan, [refused], 10.0) == Done(complete=True)


def test_a_sweep_goes_on_where_it_stopped() -> None:
    """The policy has no state but the points: the half of a sweep gives the next probe of the whole."""
    swept = sweep(PLAN, md1(service))
    half = len(swept.points) // 2
    spent = sum(probe.seconds + PLAN.overhead for probe in swept.probes[:half])
    assert next_probe(PLAN, swept.points[:half], spent) == swept.probes[half]


def test_no_time_no_probe() -> None:
    assert next_probe(PLAN, [], PLAN.budget - 1) == Done(complete=False)
    assert isinstance(next_probe(PLAN, [], 0), Probe)


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": ()},
        {"steps": (1, 1)},
        {"deadlines": ()},
        {"deadlines": (0.2, 0.1)},
        {"deadlines": (0.0,)},
        {"share": 1},
    ],
)
def test_plan_that_makes_no_sense_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="not"):
        Plan(**{"steps": (1,), "deadlines": (0.1,), "budget": 60, **wrong})  # type: ignore[arg-type]

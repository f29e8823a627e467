"""A client that could not keep its schedule must say so, and one that could must not be doubted."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import numpy as np
import pytest

from loadtest.client import Address
from loadtest.environment import environment
from loadtest.messages import Findings, Harvest
from loadtest.records import FAILURE_CODES, Records
from loadtest.result import Run
from loadtest.settings import Settings
from loadtest.summary import Course, summarise
from loadtest.table import render
from loadtest.target import IdleReplies, Target
from loadtest.traffic import Kind

START, BEGIN, SECONDS = 100.0, 101.0, 10.0
LATENCY = 0.1


def summary(
    late: np.ndarray,
    unsent: int = 0,
    fault: str = "",
    status: int = 200,
    max_lateness: float | None = None,
    unfinished: int = 0,
) -> Run:
    """A run whose server takes 0.1 s for each request, which its client sent `late` seconds late.

    The last `unfinished` were in flight when a person interrupted it.
    """
    settings = Settings("http://127.0.0.1:1", rate=100, warmup=BEGIN - START, slo=0.15, max_lateness=max_lateness)
    records = Records()
    for i, one in enumerate(late):
        intended = START + i / 100
        begun = intended + one
        if i < len(late) - unfinished:
            records.add(intended, begun, begun + LATENCY, 0, status, 50)
        else:
            records.add(intended, begun, math.inf, 0, 0)
    kind = Kind(1, None, "png")
    return summarise(
        settings=settings,
        target=Target(settings.url, Address("127.0.0.1", 1, None), "h", "", None, None),
        idle=IdleReplies({}, (), True, ()),
        course=Course(START, BEGIN, BEGIN + SECONDS, None, unfinished > 0, ""),
        harvests=[Harvest(records, (kind,), Findings(), unsent, 0, fault)],
        environment=environment((), datetime.now(UTC)),
    )


COUNT = int(100 * (SECONDS + BEGIN - START))


def test_punctual_client_is_valid() -> None:
    run = summary(np.full(COUNT, 0.0002))
    assert run.lateness.valid
    assert run.window.sent == 1000
    assert run.ok == 1000
    assert run.lateness.times.p99 == pytest.approx(0.0002, rel=0.01)
    assert run.warmup.seconds == pytest.approx(1.0)
    assert "NOT VALID" not in render(run)


def test_client_that_falls_behind_is_not_valid_and_its_latency_counts_all_of_it() -> None:
    run = summary(np.linspace(0, 5, COUNT))
    assert not run.lateness.valid
    assert not run.trustworthy
    assert "is allowed" in run.lateness.why
    assert run.steps[0].latency.p99 == pytest.approx(5, rel=0.05)
    assert run.steps[0].service.p99 == pytest.approx(LATENCY, rel=0.01), "control: from the actual sending"
    assert run.goodput is not None
    assert run.goodput.share < 0.05
    assert "NOT VALID" in render(run)


def test_lateness_that_moves_no_figure_is_allowed() -> None:
    """Of 1000 requests 5 are very late: p99 does not know them. Of 20, it does."""
    late = np.zeros(COUNT)
    late[200:205] = 0.08
    assert summary(late).lateness.valid
    late[200:240] = 0.08
    run = summary(late)
    assert not run.lateness.valid
    assert run.lateness.moved == pytest.approx(0.08, rel=0.01)


def test_what_lateness_did_beyond_p99_is_not_denied() -> None:
    """5 of 1000 are very late, which the maximum shows: no figure moved by more, up to p99 only."""
    late = np.zeros(COUNT)
    late[200:205] = 0.08
    run = summary(late)
    assert (run.steps[0].latency.max or 0) > LATENCY + 0.07
    assert "moves no figure up to p99 by more than" in render(run)


def test_own_limit_counts_late_requests() -> None:
    late = np.zeros(COUNT)
    late[200:240] = 0.08
    assert summary(late, max_lateness=0.1).lateness.valid
    assert not summary(late, max_lateness=0.05).lateness.valid


@pytest.mark.parametrize("how", [{"unsent": 3}, {"fault": "all 4 connections were in use at once"}])
def test_requests_that_could_not_be_sent_are_told(how: dict[str, object]) -> None:
    run = summary(np.zeros(COUNT), **how)  # type: ignore[arg-type]
    assert not run.lateness.valid
    assert str(next(iter(how.values()))) in run.lateness.why


def test_failed_requests_are_in_no_latency_of_good_ones() -> None:
    run = summary(np.zeros(COUNT), status=FAILURE_CODES["timeout"])
    assert run.ok == 0
    assert [(group.status, group.latency.count) for group in run.groups] == [("timeout", 1000)]
    assert run.goodput is not None
    assert run.goodput.share == 0
    assert run.steps[0].latency.p50 is None
    assert "no whole reply within --timeout" in render(run)

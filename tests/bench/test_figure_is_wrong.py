"""Percentiles, slopes and verdicts of the bench, on numbers whose answer is known."""

from __future__ import annotations

import math
import random

import pytest

from server.bench.client import Answer
from server.bench.figures import Target, median, percentile, slope, table
from server.bench.floor import medians
from server.bench.kill import gap
from server.bench.mixed import waits
from server.bench.overload import DEADLINE, recovery, within
from server.bench.processes import cpu_seconds, open_files, parse_pss, pss, tree


@pytest.mark.parametrize(
    ("count", "percent", "expected"), [(100, 99, 99), (101, 99, 100), (10, 99, 10), (10, 50, 5), (1, 50, 1), (4, 25, 1)]
)
def test_percentile_is_the_nearest_rank(count: int, percent: float, expected: int) -> None:
    values = list(range(1, count + 1))
    random.Random(0).shuffle(values)
    assert percentile(values, percent) == expected


def test_nothing_has_no_percentile() -> None:
    assert math.isnan(percentile([], 99))
    assert math.isnan(median([]))
    with pytest.raises(ValueError, match="not 0"):
        percentile([1.0], 0)


def test_slope_ignores_odd_values() -> None:
    times = [float(i) for i in range(50)]
    values = [3.0 + 0.5 * at for at in times]
    values[7], values[30] = 900.0, -900.0
    assert slope(times, values) == pytest.approx(0.5)
    with pytest.raises(ValueError, match="at least two"):
        slope([1.0, 1.0], [2.0, 3.0])


@pytest.mark.parametrize(
    ("figure", "limit", "at_least", "met"),
    [(0.95, 0.95, True, True), (0.94, 0.95, True, False), (4.0, 4.0, False, True), (4.1, 4.0, False, False)],
)
def test_verdict(figure: float, limit: float, at_least: bool, met: bool) -> None:
    assert Target("it", figure, limit, at_least=at_least).met is met


@pytest.mark.parametrize("at_least", [True, False])
def test_figure_that_could_not_be_measured_is_not_met(at_least: bool) -> None:
    assert not Target("it", math.nan, 1.0, at_least=at_least).met


def test_table_shows_every_target() -> None:
    text = table([Target("speed", 2.0, 1.0, "/s", at_least=True, beside="peer 1/s"), Target("wait", 3.0, 1.0, "ms")])
    assert "speed   2 /s    at least 1 /s  met      peer 1/s" in text
    assert "wait    3 ms    at most 1 ms   NOT MET" in text


def answer(intended: float, latency: float, status: int = 200) -> Answer:
    return Answer(1, intended, intended, intended + latency, status)


def test_late_and_refused_answers_are_no_goodput() -> None:
    answers = [
        answer(0.0, 0.5),
        answer(0.0, DEADLINE + 0.01),  # late
        answer(0.0, 0.1, 429),
        answer(9.9, 0.5),  # done after the window
        answer(9.0, 0.5),
    ]
    assert within(answers, 10.0) == 2


def test_unanswered_requests_count_as_the_worst_latency() -> None:
    """Otherwise a server that answers half of them quickly would look better than one that answers all."""
    answers = [answer(0.0, 0.01)] * 98 + [answer(0.0, 0.01, 503)] * 2
    assert percentile(waits(answers), 99) == math.inf
    assert percentile(waits(answers[:98]), 99) == pytest.approx(0.01)


def test_recovery_needs_three_quick_probes_in_a_row() -> None:
    probes = [answer(10.0 + 0.1 * i, latency) for i, latency in enumerate([0.5, 0.01, 0.3, 0.01, 0.01, 0.01])]
    random.Random(0).shuffle(probes)
    assert recovery(probes, 10.0, idle=0.01) == pytest.approx(0.3)
    assert recovery([one._replace(status=429) for one in probes], 10.0, idle=0.01) == math.inf


def test_answer_to_a_request_from_before_the_kill_is_no_recovery() -> None:
    answers = [answer(0.9, 0.15), answer(1.1, 0.9), answer(1.2, 0.7)]
    assert gap(answers, 1.0) == pytest.approx(0.9)


def test_parts_of_the_floor_add_up() -> None:
    parts = [{"noise": 1.0, "network": 5.0}, {"noise": 3.0, "network": 6.0}, {"noise": 2.0, "network": 9.0}]
    assert medians(parts) == {"noise": 2.0, "network": 6.0, "total": 9.0}


def test_proportional_memory_is_read_as_bytes() -> None:
    text = "55d8-7ffd ---p 00000000 00:00 0 [rollup]\nRss:  9000 kB\nPss:  1234 kB\nPss_Dirty: 7 kB\n"
    assert parse_pss(text) == 1234 * 1024
    assert parse_pss(text + "Pss_Anon:  56 kB\n", "Pss_Anon:") == 56 * 1024
    assert parse_pss("") == 0


def test_ended_process_is_nothing() -> None:
    nobody = 2**22 + 1
    assert (pss(nobody), cpu_seconds(nobody), open_files(nobody), tree(nobody)) == (0, 0.0, 0, [nobody])

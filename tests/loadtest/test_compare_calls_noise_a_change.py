"""Comparisons of two results: what did not change is not called changed, and what changed is."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

import pytest

import longjump
from loadtest import compare as command
from loadtest import comparison as subject
from loadtest.intervals import change, quantile_figure, rate_figure, share_change, student, wilson
from loadtest.result import Run, write
from loadtest.sweep.result import Sweep
from tests.loadtest.queues import md1
from tests.loadtest.runs import gamma, run_of
from tests.loadtest.sweeps import ASKED, FakeServer, queue

INF = math.inf


def pair(seed: int, slower: float = 1.0, dependence: float = 0.3, count: int = 1200) -> tuple[Run, Run]:
    return (
        run_of(gamma(0.02, count, 2 * seed, dependence)),
        run_of(gamma(0.02 * slower, count, 2 * seed + 1, dependence)),
    )


def verdicts(before: Run, after: Run) -> dict[str, str]:
    return {row.what: row.verdict for row in subject.compare(before, after)}


def test_noise_is_no_change() -> None:
    """Sixteen pairs of runs of one server, whose queue makes neighbours alike: hardly any has a clear change."""
    alarms = sum(
        any(verdict in ("better", "worse") for verdict in verdicts(*pair(seed)).values()) for seed in range(40)
    )
    assert alarms <= 3


def test_independence_would_call_it_one() -> None:
    """Negative control: with the order of requests shuffled away, the same spread looks far surer than it is."""
    [one] = run_of(gamma(0.02, 1200, 3, 0.3)).steps
    shuffled = sorted(gamma(0.02, 1200, 3, 0.3), key=lambda value: hash((value, 7)))
    [other] = run_of(shuffled).steps
    true, naive = (quantile_figure(steps.blocks, 0.5) for steps in (one, other))
    assert true is not None
    assert naive is not None
    assert true.error > 1.3 * naive.error


@pytest.mark.parametrize("slower", [1.5, 0.6])
def test_change_is_seen(slower: float) -> None:
    found = verdicts(*pair(1, slower, dependence=0.1))
    wanted = "worse" if slower > 1 else "better"
    assert found["1 NFE: p50"] == wanted
    assert found["1 NFE: mean"] == wanted


def test_too_few_requests_are_no_tail() -> None:
    found = verdicts(*pair(1, 3.0, dependence=0.1, count=300))
    assert found["1 NFE: p99"] == "too few to say"
    assert found["1 NFE: p50"] == "worse"


def test_refusals_are_seen() -> None:
    calm = gamma(0.02, 600, 1)
    found = verdicts(run_of(calm), run_of([INF if i % 5 == 0 else one for i, one in enumerate(calm)]))
    assert found["1 NFE: failed or refused"] == "worse"


def test_few_refusals_are_not() -> None:
    calm = gamma(0.02, 600, 1)
    found = verdicts(run_of([*calm[:-1], INF]), run_of([*calm[:-3], INF, INF, INF]))
    assert found["1 NFE: failed or refused"] == "no clear change"


def sweep_of(folder: Path, seed: int, slower: float = 1.0) -> Sweep:
    """A sweep of an M/D/1 queue."""
    server = FakeServer(md1(lambda steps: slower * queue(steps)))
    return server.sweep(folder / f"{seed}.json", ASKED.model_copy(update={"seed": 1000 * seed}))


def test_sweeps_of_one_queue_agree(tmp_path: Path) -> None:
    alarms = 0
    for seed in range(2):
        rows = subject.compare(sweep_of(tmp_path, 2 * seed), sweep_of(tmp_path, 2 * seed + 1))
        alarms += any(row.verdict in ("better", "worse") for row in rows)
    assert alarms <= 1


def test_sweeps_of_two_queues_differ(tmp_path: Path) -> None:
    rows = {row.what: row for row in subject.compare(sweep_of(tmp_path, 0), sweep_of(tmp_path, 1, slower=3.0))}
    assert rows["1 NFE: highest rate for 50 ms"].verdict == "worse"
    assert rows["1 NFE, idle: p50"].verdict == "worse"
    assert rows["1 NFE: highest rate for 50 ms"].regression > 30


@pytest.mark.parametrize(("slower", "code"), [(1.0, 0), (2.0, 1)])
def test_exit_code_tells_of_a_regression(tmp_path: Path, slower: float, code: int) -> None:
    before, after = pair(4, slower)
    write(before, tmp_path / "a.json")
    write(after, tmp_path / "b.json")
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    files = [str(tmp_path / "a.json"), str(tmp_path / "b.json")]
    assert command.run(parser.parse_args(files)) == 0
    assert command.run(parser.parse_args([*files, "--fail-on-regression"])) == code
    assert command.run(parser.parse_args([*files, "--fail-on-regression", "500"])) == 0


def test_json_says_what_the_table_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, after = pair(4, 2.0)
    write(before, tmp_path / "a.json")
    write(after, tmp_path / "b.json")
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    command.run(parser.parse_args([str(tmp_path / "a.json"), str(tmp_path / "b.json"), "--json"]))
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert {row["what"]: row["verdict"] for row in rows} == verdicts(before, after)


def test_quantiles_of_student_and_wilson_are_those_of_tables() -> None:
    assert student(0.975, 19) == pytest.approx(2.093, abs=0.002)
    assert student(0.9995, 19) == pytest.approx(3.883, abs=0.02)
    assert wilson(10, 100, 0.95) == pytest.approx((0.0552, 0.1744), abs=2e-4)
    low, high = share_change((48, 80 + 48), (56, 70), 0.95)
    assert low < 56 / 70 - 48 / 128 < high


def test_throughput_of_a_closed_loop_is_compared() -> None:
    steady = [200, 203, 198, 201, 199, 202, 200, 197]
    one, same, slower = (rate_figure(values) for values in (steady, steady[::-1], [value - 40 for value in steady]))
    assert one is not None
    assert same is not None
    assert slower is not None
    assert not change(one, same, 0.95).clear
    assert change(one, slower, 0.95).clear
    assert rate_figure([200, 201]) is None


def test_change_of_equal_figures_is_not_clear() -> None:
    [one] = run_of(gamma(0.02, 600, 1)).steps
    figure = quantile_figure(one.blocks, 0.5)
    assert figure is not None
    same = change(figure, figure, 0.95)
    assert same.ratio == 1
    assert not same.clear


def test_front_door_knows_it() -> None:
    assert "loadtest" in longjump.COMMANDS

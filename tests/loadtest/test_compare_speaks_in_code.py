"""What `compare` says must be words: no dict, no None; and a file it refuses is named, with what would be right."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

import pytest

from loadtest import compare as command
from loadtest.comparison import compare, read_any, text
from loadtest.differences import differences
from loadtest.result import Load, Run, write
from loadtest.sweep.result import Sweep
from tests.loadtest.runs import gamma, run_of
from tests.loadtest.sweeps import SHORT, FakeServer

NAMES = ("before.json", "after.json")


def run(**of_run: Any) -> Run:
    return run_of(gamma(0.02, 600, 1), **of_run)


def loaded(**changed: Any) -> Run:
    """A run of another load."""
    one = run()
    load = Load.model_validate({**one.load.model_dump(), **changed})
    return one.model_copy(update={"load": load})


def served(model: dict[str, Any] | None) -> Run:
    one = run()
    return one.model_copy(update={"server": one.server.model_copy(update={"model": model})})


def sweep_of(folder: Path, **of_run: Any) -> Sweep:
    return FakeServer(**of_run).sweep(folder / "sweep.json", SHORT)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (
            loaded(rate=1200.5),
            "the load differs: 50/s with Poisson arrivals in A, 1,200.5/s with Poisson arrivals in B",
        ),
        (loaded(arrivals="bursty", cv=3.0), "50/s with bursty (cv 3) arrivals in B"),
        (loaded(arrivals="trace", rate=None, trace="requests.csv"), "the trace requests.csv in B"),
        (
            loaded(formats={"png": 0.7, "webp": 0.3}),
            "the formats differ: the server's own in A, png 70 %, webp 30 % in B",
        ),
        (loaded(labels={"cat": 0.5, "dog": 0.5}), "the labels differ: drawn from the seed in A, cat and dog in B"),
        (loaded(fields={"guidance": "2"}), "the further fields differ: none in A, guidance=2 in B"),
        (loaded(steps={"1": 0.9, "8": 0.1}), "the step counts differ: 1 NFE in A, 1 NFE 90 %, 8 NFE 10 % in B"),
        (loaded(route="openai"), "the route differs: /generate in A, /v1/images/generations in B"),
        (served(None), "facets-32 (fingerprint 8d76b9dac9d3ba5b) in A, one that the server does not name in B"),
        (served({"id": "facets-32"}), "facets-32 (without a fingerprint) in B"),
        (run(interrupted=True), "B was interrupted"),
        (run(different=1), "1 of 30 replies that were compared in B had other bytes"),
        (run(), ""),
    ],
)
def test_difference_is_said_in_words(other: Run, words: str) -> None:
    remarks = differences(run(), other)
    assert len(remarks) == bool(words)
    assert words in " ".join(remarks)
    assert not re.search(r"None|[{}\[\]'](?!s )", " ".join(remarks))


def test_interval_without_an_end_is_none() -> None:
    """Five stretches that differ by a thousand: nothing can be said, and no astronomic number is."""
    wild = run_of([0.005 * 10 ** (i // 120 % 5 - 1) for i in range(600)])
    said = text(compare(wild, wild), [], *NAMES)
    assert not re.search(r"\d,\d{3},\d{3}", said), said
    assert "too few to say" in said


def test_closed_loops_are_told_by_what_is_in_flight() -> None:
    one, other = (run(rate=None), run(rate=None))
    other = other.model_copy(update={"load": other.load.model_copy(update={"concurrency": 16})})
    assert differences(one, other) == ["the load differs: 1 request in flight in A, 16 requests in flight in B"]


def test_sweeps_of_other_questions_are_told(tmp_path: Path) -> None:
    one = sweep_of(tmp_path)
    other = one.model_copy(update={"asked": one.asked.model_copy(update={"share": 0.95, "deadlines": (0.05,)})})
    assert differences(one, other) == [
        "the share that has to meet a deadline differs: 99 % in A, 95 % in B",
        "the deadlines differ: 50 ms, 100 ms in A, 50 ms in B",
    ]


def test_table_has_no_raw_values(tmp_path: Path) -> None:
    one, other = sweep_of(tmp_path), sweep_of(tmp_path, late=lambda asked: "late" if (asked.rate or 0) > 50 else "")
    said = text(compare(one, other), differences(one, other), *NAMES)
    assert not re.search(r"None|nan|inf\b|\?|\d{4}|\d\.\d{3}", said), said
    assert re.search(r"\d+ of \d+ runs in B (is|are) invalid, and left out", said)


def test_limit_that_was_not_measured_is_not_called_missed(tmp_path: Path) -> None:
    one, other = sweep_of(tmp_path), sweep_of(tmp_path, late=lambda asked: "late" if asked.rate else "")
    row = next(row for row in compare(one, other) if row.what == "1 NFE: highest rate for 50 ms")
    assert (row.after, row.verdict) == ("not known", "too few to say")


def test_invalid_run_is_named_with_what_to_do() -> None:
    late = run(late="the client sent so late that a figure is 9 ms longer for it")
    with pytest.raises(ValueError, match=r"after\.json is not valid .*9 ms longer.*measure again .* lower rate") as one:
        compare(run(), late, NAMES)
    assert "before.json" not in str(one.value)
    with pytest.raises(ValueError, match=r"before\.json is not valid.*after\.json is not valid"):
        compare(late, late, NAMES)


def test_run_that_the_server_left_is_named() -> None:
    gone = run().model_copy(update={"aborted": "the server went away"})
    with pytest.raises(ValueError, match=r"before\.json is not valid .*the server went away"):
        compare(gone, run(), NAMES)


def test_sweep_without_a_valid_run_is_named(tmp_path: Path) -> None:
    good, late = sweep_of(tmp_path), sweep_of(tmp_path, late=lambda _: "the client was late")
    with pytest.raises(ValueError, match=r"after\.json is not valid .*none of its runs is valid: the client was late"):
        compare(good, late, NAMES)
    with pytest.raises(ValueError, match=r"after\.json is not valid .*it has no run in it"):
        compare(good, good.model_copy(update={"runs": ()}), NAMES)


def test_two_kinds_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"before\.json holds a run and after\.json a sweep.*two runs or two sweeps"):
        compare(run(), sweep_of(tmp_path), NAMES)
    with pytest.raises(
        ValueError, match=r"before\.json is of an open loop, after\.json of a closed loop.*--concurrency"
    ):
        compare(run(), run(rate=None), NAMES)


def test_nothing_in_common_is_named() -> None:
    with pytest.raises(ValueError, match=r"before\.json has 1 NFE and after\.json has 4 NFE.*the same --steps"):
        compare(run(), run(steps=4), NAMES)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.json", "{", "is not JSON"),
        ("a.json", "[]", "holds no result of a load test; give"),
        ("a.json", '{"kind": "picture"}', "holds no result of a load test; give"),
        ("a.json", '{"kind": "run", "format": 99}', "has format 99"),
        ("a.json", '{"kind": "sweep", "format": 1}', "Field required"),
        ("a.html", "<!doctype html>", r"is not JSON .*wrote: .*a\.json"),
    ],
)
def test_file_of_something_else_is_refused(tmp_path: Path, name: str, content: str, words: str) -> None:
    (tmp_path / "a.json").touch()
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=rf"{re.escape(name)}.*{words}"):
        read_any(tmp_path / name)


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser()
    command.add_arguments(made)
    return made


@pytest.mark.parametrize("wrong", ["nan", "-1", "a.json"])
def test_limit_that_would_never_hold_is_refused(wrong: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args(["a.json", "b.json", f"--fail-on-regression={wrong}"])
    assert "not a number of percent" in capsys.readouterr().err


def test_one_file_given_twice_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(run(), tmp_path / "a.json")
    write(run(), tmp_path / "copy.json")
    write(run_of(gamma(0.02, 600, 2)), tmp_path / "b.json")
    (tmp_path / "link.json").symlink_to("a.json")
    said = {"a": "A and B are the same file", "link": "A and B are the same file", "copy": "copies of one result"}
    for name in ("a", "link", "copy", "b"):
        assert command.run(parser().parse_args([str(tmp_path / "a.json"), str(tmp_path / f"{name}.json")])) == 0
        out = capsys.readouterr().out
        assert said.get(name, "") in out
        assert ("A and B" in out) == (name in said)


def test_regression_is_said_with_its_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(run(), tmp_path / "a.json")
    write(run_of(gamma(0.05, 600, 2)), tmp_path / "b.json")
    files = [str(tmp_path / "a.json"), str(tmp_path / "b.json")]
    assert command.run(parser().parse_args([*files, "--fail-on-regression"])) == 1
    assert re.search(r"worse: 1 NFE: p50, [\d.]+ ms to [\d.]+ ms", capsys.readouterr().err)

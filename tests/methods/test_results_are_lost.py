"""`make results`: what was trained and measured is kept, what was not says so, and a killed run goes on."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.methods import pictures, plans, results
from tests.methods.pictures import Cell
from tests.methods.plans import PLANS, Plan
from trainer.data.arrays import Split
from trainer.data.fashion_mnist import CLASSES
from trainer.data.folder import Built, write_dataset

TINY = dataclasses.replace(
    PLANS["fashion-mnist"],
    network=("width=8", "depth=1", "heads=1"),
    images=64,
    batch=16,
    samples=16,
    real=(40, 20),
)


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plan]:
    """A plan of seconds, on noise."""
    monkeypatch.setattr(plans, "CACHE", tmp_path / "results")
    monkeypatch.setattr(results, "PAGE", tmp_path / "results.md")
    monkeypatch.setattr(results, "PLOTS", tmp_path / "plots")
    monkeypatch.setitem(PLANS, "fashion-mnist", TINY)
    rng, splits = np.random.default_rng(0), {}
    for name, count in (("train", 60), ("test", 40)):
        labels = np.arange(count, dtype=np.int64) % len(CLASSES)
        splits[name] = Split(rng.integers(0, 256, (count, 32, 32, 1), dtype=np.uint8), labels)
    TINY.data.parent.mkdir(parents=True)
    write_dataset(TINY.data, Built("fashion-mnist", "image", CLASSES, splits, {"licence": "MIT"}))
    _forget()
    yield TINY
    _forget()


def _forget() -> None:
    pictures._key.cache_clear()
    pictures.dataset.cache_clear()


def _line(text: str, head: str, name: str) -> str:
    """A method's line of the table with this head."""
    return next(line for line in text.partition(f"| {head} |")[2].splitlines() if line.startswith(f"| {name} |"))


def test_missing_result_shows_a_number(plan: Plan) -> None:
    text = results.page(results.CHOSEN)
    for method in results.CHOSEN:
        assert _line(text, "fd_enetlite0", method).count("not run") == len(pictures.STEPS)
        assert _line(text, "method", method).count("not run") == 5
    assert "not run" in text.partition("## Facets")[2]
    assert "scd" in text.partition("What training took")[2]  # those that were not chosen are named


def test_results_are_made_again(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trained with its flow, measured, kept, shown; the second time nothing is run."""
    assert results.run(plan, ["ect"]) == 0
    flow, ect = Cell("flow-matching", plan), Cell("ect", plan)
    text = results.PAGE.read_text()
    for cell in (flow, ect):
        found = cell.result()
        assert found is not None
        assert found["settings"]["reference"]["pictures"] == 20
        shown = [f"{found['steps'][str(steps)]['fd_enetlite0']:.1f}" for steps in pictures.STEPS]
        assert f"| {cell.method} | {' | '.join(shown)} |" in text
    whole, own = ect.cost(), ect.trained()
    assert whole is not None
    assert own is not None
    assert own["flops"] < whole[1] == own["flops"] + flow.trained()["flops"]  # type: ignore[index]
    assert ect.recipe().objective.flow_matching_steps == 0  # type: ignore[attr-defined]
    assert _line(text, "fd_enetlite0", "ctm").count("not run") == len(pictures.STEPS)
    assert (results.PLOTS / "fashion-mnist.png").is_file()

    monkeypatch.setattr(pictures, "call", None)
    assert results.run(plan, ["ect"]) == 0


@pytest.mark.parametrize(("right", "warned"), [(0.3, True), (0.8, False)])
def test_hopeless_runs_are_compared_without_a_word(plan: Plan, right: float, warned: bool) -> None:
    cell = Cell("meanflow", plan)
    cell.folder.mkdir(parents=True)
    found = {"steps": {"1": {"class_accuracy": 0.1}, "2": {"class_accuracy": right}}, "floor": {"class_accuracy": 0.85}}
    cell.figures.write_text(json.dumps(found))
    said = "".join(results.warning([Cell("imf", plan), cell]))
    assert ("4 steps of 16 pictures are too few for any method to learn its classes" in said) is warned
    assert ("at most 30.0%" in said) is warned


@pytest.mark.parametrize(
    "change",
    [{"images": 96}, {"batch": 32}, {"network": ("width=16", "depth=1", "heads=1")}, {"samples": 17}],
)
def test_result_of_another_plan_is_shown(plan: Plan, change: dict[str, object]) -> None:
    mine, other = Cell("meanflow", plan), Cell("meanflow", dataclasses.replace(plan, **change))  # type: ignore[arg-type]
    assert mine.figures.name != other.figures.name
    assert (mine.key == other.key) is ("samples" in change)  # measured anew, not trained
    assert Cell("meanflow", plan).figures == mine.figures


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_run_begins_anew(plan: Plan, number: signal.Signals) -> None:
    """Told in the middle of a training, as a terminal or a system does it; then the same command again."""
    longer = dataclasses.replace(plan, images=16 * 3000)
    program = (
        "import sys; from pathlib import Path; from tests.methods import plans, results; "
        f"plans.CACHE = Path({str(plans.CACHE)!r}); results.PAGE = Path({str(results.PAGE)!r}); "
        f"results.PLOTS = Path({str(results.PLOTS)!r}); "
        f"plans.PLANS['fashion-mnist'] = plans.Plan(**{dataclasses.asdict(longer)!r}); "
        "sys.argv = ['results', '--methods', 'flow-matching']; sys.exit(results.main())"
    )
    words = [sys.executable, "-c", program]
    process = subprocess.Popen(
        words, cwd=plans.ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    cell = Cell("flow-matching", longer)
    log = cell.run / "log.jsonl"
    deadline = time.monotonic() + 100
    while not (log.is_file() and log.read_text()) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # a terminal tells all of them
    else:
        process.send_signal(number)
    said, _ = process.communicate(timeout=100)
    assert process.returncode == 130, said
    assert "the same command goes on where it was" in said
    assert cell.trained() is None
    steps = [int(folder.name.removeprefix("step-")) for folder in cell.run.glob("step-*")]
    assert 0 < max(steps) < 3000, said

"""The log holds every term before any weighting, the rate, the gradient and the speed; a log file gets whole lines."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from trainer.data.dataset import Dataset
from trainer.loop import train
from trainer.processes import Processes
from trainer.progress import Meter, progress_bar
from trainer.recipe import Recipe
from trainer.rundir import RunDirectory

pytestmark = pytest.mark.usefixtures("plain_cards")

Tiny = Callable[..., Recipe]
Data = Callable[[str], Dataset]

TERMS = {
    "points/meanflow": {"loss/jump", "loss/velocity", "derivative"},
    "points/flow-matching": {"loss/velocity"},
}


@pytest.mark.parametrize("name", TERMS)
def test_term_is_not_logged(tmp_path: Path, tiny: Tiny, data_for: Data, name: str) -> None:
    recipe = tiny(name)
    train(recipe, data_for(name), tmp_path / "run")
    rows = RunDirectory(tmp_path / "run", 1).rows()
    for row in rows:
        assert set(row) == {"step", "lr", "loss", "gradient", "per_second", "memory", "mfu"} | TERMS[name]
        assert row["lr"] == recipe.optimiser.rate(row["step"], recipe.run.steps)
        assert row["per_second"] > 0
        assert row["memory"] > 2**20
        assert row["mfu"] > 0


def test_weighted_loss_is_logged_as_raw(tmp_path: Path, tiny: Tiny, data_for: Data) -> None:
    """The adaptive weight changes the loss that is minimised, at step 1 nothing else."""
    first = {}
    for power in (0.0, 1.0):
        recipe = tiny("points/meanflow", "run.steps=1", f"objective.adaptive_power={power}")
        train(recipe, data_for("points/meanflow"), tmp_path / str(power))
        (first[power],) = RunDirectory(tmp_path / str(power), 1).rows()
    for term in TERMS["points/meanflow"]:
        assert first[0.0][term] == first[1.0][term]
    assert first[0.0]["loss"] != pytest.approx(first[1.0]["loss"], rel=0.05)
    assert first[1.0]["loss"] <= 1


@pytest.mark.parametrize(("log_every", "save_every", "steps"), [(2, 6, [2, 4, 6]), (4, 3, [3, 4, 6]), (50, 6, [6])])
def test_step_is_logged_twice_or_never(
    tmp_path: Path, tiny: Tiny, data_for: Data, log_every: int, save_every: int, steps: list[int]
) -> None:
    """Every log_every steps, and at each checkpoint, whose metrics.json and curves are of its own step."""
    recipe = tiny("points/meanflow", f"run.log_every={log_every}", f"run.save_every={save_every}")
    train(recipe, data_for("points/meanflow"), tmp_path / "run")
    assert [row["step"] for row in RunDirectory(tmp_path / "run", 1).rows()] == steps


def test_row_is_of_one_step_only(tmp_path: Path, tiny: Tiny, data_for: Data) -> None:
    """A row is the mean over the steps since the last one."""
    logs = {}
    for every in (1, 3):
        train(tiny("points/meanflow", f"run.log_every={every}"), data_for("points/meanflow"), tmp_path / str(every))
        logs[every] = [row["loss/velocity"] for row in RunDirectory(tmp_path / str(every), 1).rows()]
    single = logs[1]
    assert logs[3] == pytest.approx([sum(single[:3]) / 3, sum(single[3:]) / 3], rel=1e-5)


def test_time_of_a_save_counts_as_training(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 10.0, 12.0, 22.0])  # made, read, paused until, read
    monkeypatch.setattr("trainer.progress.time", SimpleNamespace(monotonic=lambda: next(clock)))
    meter = Meter(5, Processes("cpu"))
    meter.add({"loss": torch.ones(5)})
    meter.step(torch.tensor(1.0))
    assert meter.read()["per_second"] == 0.5
    meter.pause(since=2.0)
    meter.add({"loss": torch.ones(5)})
    meter.step(torch.tensor(1.0))
    assert meter.read()["per_second"] == pytest.approx(5 / 2, abs=0.05)


def test_log_file_is_one_endless_line(capfd: pytest.CaptureFixture[str]) -> None:
    with progress_bar(3, 6) as progress:
        for step in progress:
            progress.set_postfix({"loss/jump": f"{step / 10:g}"}, refresh=False)
    said = capfd.readouterr().err
    assert "\r" not in said
    assert said.endswith("\n")
    lines = said.splitlines()
    assert lines[0].startswith("3/6 steps (50%)")
    assert lines[-1].startswith("6/6 steps (100%)")
    assert lines[-1].endswith("left, loss/jump=0.6")


def test_log_is_not_json(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path, 1)
    assert directory.rows() == []
    directory.log({"step": 1, "loss": 0.5})
    directory.log({"step": 2, "loss": 0.25})
    assert [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()] == directory.rows()


def test_utilisation_leaves_out_a_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    """Operations of all pieces over what the device could have done in the same time; unknown stays unknown."""
    clock = iter([0.0, 10.0, 20.0, 30.0])
    monkeypatch.setattr("trainer.progress.time", SimpleNamespace(monotonic=lambda: next(clock)))
    meter = Meter(5, Processes("cpu"), peak=100.0)
    for flops, expected in (((200, 300), 0.5), ((400,), 0.4), ((200, None), None)):
        for piece in flops:
            meter.add({"loss": torch.ones(5)})
            meter.work(piece)
        meter.step(torch.tensor(1.0))
        assert meter.read()["mfu"] == expected

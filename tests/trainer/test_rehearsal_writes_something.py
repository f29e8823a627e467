"""`--list` and `--dry-run` say what there is and what it would cost, and leave nothing behind; the run says it too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import longjump
from trainer.recipe import load_recipe
from trainer.recipes import shipped
from trainer.rehearsal import duration

Command = Callable[..., list[str]]


def test_recipe_is_not_listed(capsys: pytest.CaptureFixture[str]) -> None:
    """Each with its data's kind, method, network and length, and its first comment."""
    assert longjump.main(["train", "--list"]) == 0
    said = capsys.readouterr().out
    for name in shipped():
        recipe = load_recipe(name)
        at = said.index(f"  {name}\n")
        facts, words = said[at:].splitlines()[1:3]
        assert facts.strip() == (
            f"{recipe.objective.method}, {recipe.model.network}, {recipe.run.steps:,} steps of {recipe.run.batch}"
        )
        assert len(words.strip()) > 20, f"{name} begins with no comment"
        assert f"{name.partition('/')[0]} ({recipe.kind})" in said[:at]


@pytest.mark.parametrize("name", ["points/meanflow", "facets/meanflow"])
def test_rehearsal_prints_no_recipe(
    tmp_path: Path, points: Path, grey: Path, tiny_command: Command, capsys: Any, monkeypatch: Any, name: str
) -> None:
    """What it prints is the recipe, which loads, with the cost as comments; the folder stays empty."""
    monkeypatch.chdir(tmp_path)
    words = tiny_command(name, "run.score=2", "run.seed=7")
    data = points if name.startswith("points") else grey
    assert longjump.main(["train", *words, "--data", str(data), "--dry-run", "--device", "cpu"]) == 0
    said = capsys.readouterr().out
    assert not list(tmp_path.iterdir())
    (tmp_path / "mine.yaml").write_text(said)
    overrides = [word for word in words[1:] if word != "--set"]
    assert load_recipe("mine.yaml") == load_recipe(name, overrides)
    comments = [line for line in said.splitlines() if line.startswith("# ")]
    for word in (
        "parameters",
        "FLOP an evaluation",
        "T(1)",
        "a step: ",
        "GiB",
        "a checkpoint: ",
        "6 steps and 2 check",
    ):
        assert word in "\n".join(comments)


def test_rehearsal_of_a_misfit_is_a_traceback(grey: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert longjump.main(["train", "points/meanflow", "--data", str(grey), "--dry-run"]) == 2
    assert "trees is of kind image; the recipe is for points" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "which recipe? longjump train RECIPE --data PATH --out DIR; --list shows"),
        (["points/meanflow"], "on which data? longjump train points/meanflow --data PATH"),
        (["points/meanflow", "--dry-run"], "on which data?"),
        (["points/meanflow", "--data", "x.npz"], "into which folder? --out DIR, a new one (or --dry-run"),
    ],
)
def test_missing_argument_is_a_riddle(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert longjump.main(["train", *words]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"longjump train: error: {message}")
    assert said.count("\n") == 1


@pytest.mark.usefixtures("plain_cards")
def test_run_does_not_explain_itself(tmp_path: Path, points: Path, tiny_command: Command, capsys: Any) -> None:
    """The cost at the start, a line for every checkpoint, what to do next; and README.md in the folder."""
    out = tmp_path / "run"
    words = tiny_command("points/meanflow", "run.score=2")
    assert longjump.main(["train", *words, "--data", str(points), "--out", str(out), "--device", "cpu"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "meanflow on points: 6 steps of 16 on cpu"
    assert said[1].startswith("mlp: ")
    assert "T(1)" in said[1]
    assert [line.partition(":")[0] for line in said[2:4]] == [f"saved {out}/step-{step:08d}" for step in (3, 6)]
    assert said[-1] == f"next: longjump export {out}/best --out BUNDLE"
    text = (out / "README.md").read_text()
    assert text.startswith("# run: meanflow on points\n")
    for word in ("6 steps are saved", "recipe.yaml", "log.jsonl", "best", "--resume", f"longjump export {out}/best"):
        assert word in text
    assert "Last figures: step 6, lr " in text
    assert "Best checkpoint: step " in text
    assert "no FID" in text
    assert "tensorboard/" not in text


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.00812, "8.12 ms"), (3.1, "3.1 s"), (119, "119 s"), (720, "12 min"), (7300, "2.03 h"), (172801, "2 days")],
)
def test_duration_is_misread(seconds: float, said: str) -> None:
    assert duration(seconds) == said

"""`best` leads to the checkpoint with the least distance to held-out data, and that one is never cleared away."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from export.export import export
from models.checkpoint import load_checkpoint
from trainer.data.dataset import open_dataset
from trainer.loop import train
from trainer.recipe import Recipe
from trainer.rundir import RunDirectory
from trainer.score import Score

Tiny = Callable[..., Recipe]
EVERY = ["run.save_every=1", "run.keep=1", "run.score=2"]


@pytest.fixture
def scores(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[float]], None]:
    """Let the checkpoints score so, one after the other."""

    def install(values: list[float]) -> None:
        given: Iterator[float] = iter(values)
        call = Score.__call__
        monkeypatch.setattr(Score, "__call__", lambda *args: {**call(*args), "energy_distance": next(given)})

    return install


@pytest.mark.usefixtures("plain_cards")
@pytest.mark.parametrize(
    ("values", "best"), [([3, 1, 2, 4, 5, 6], 2), ([6, 5, 4, 3, 2, 1], 6), ([1, 2, 3, 4, 5, 6], 1)]
)
def test_best_is_another(tmp_path: Path, tiny: Tiny, points: Path, scores: Any, values: list[float], best: int) -> None:
    scores(values)
    out = tmp_path / "run"
    train(tiny("points/meanflow", *EVERY), open_dataset(points), out)
    assert os.readlink(out / "best") == f"step-{best:08d}"
    assert load_checkpoint(out / "best")[1].step == best
    assert {folder.name for folder in out.glob("step-*")} == {f"step-{step:08d}" for step in {best, 6}}
    assert f"Best checkpoint: step {best}, energy distance {min(values)}" in (out / "README.md").read_text()


@pytest.mark.usefixtures("plain_cards")
@pytest.mark.parametrize("pause", [1, 3, 4])
def test_resumed_run_has_another_best(
    tmp_path: Path, tiny: Tiny, points: Path, stop_after: Any, weights: Any, pause: int
) -> None:
    """By real scores: the same log, the same link, the same bytes."""
    recipe, dataset = tiny("points/meanflow", *EVERY), open_dataset(points)
    straight = train(recipe, dataset, tmp_path / "straight")
    train(recipe, dataset, tmp_path / "paused", stop=stop_after(pause))
    resumed = train(recipe, dataset, tmp_path / "paused", resume=True)
    assert weights(resumed) == weights(straight)
    assert os.readlink(tmp_path / "paused" / "best") == os.readlink(tmp_path / "straight" / "best")
    found = [[row["score"] for row in RunDirectory(tmp_path / name, 1).rows()] for name in ("straight", "paused")]
    assert found[0] == found[1]
    assert len(found[0]) == 6


@pytest.mark.usefixtures("plain_cards")
def test_kill_before_the_link_forgets_the_best(
    tmp_path: Path, tiny: Tiny, points: Path, scores: Any, stop_after: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The checkpoint is there, the link is still the old one: the next start mends it."""
    scores([3, 1, 2, 4, 5, 6])
    out, dataset, recipe = tmp_path / "run", open_dataset(points), tiny("points/meanflow", *EVERY)
    train(recipe, dataset, out, stop=stop_after(1))
    with monkeypatch.context() as patch:
        patch.setattr(RunDirectory, "mark_best", lambda self: None)
        patch.setattr("trainer.rundir._remove", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        patch.setattr(RunDirectory, "best", lambda self: None)
        with pytest.raises(KeyboardInterrupt):
            train(recipe, dataset, out, resume=True)
    assert os.readlink(out / "best") == "step-00000001"
    assert {folder.name for folder in out.glob("step-*")} == {"step-00000001", "step-00000002"}
    train(recipe, dataset, out, resume=True)
    assert os.readlink(out / "best") == "step-00000002"


@pytest.mark.usefixtures("plain_cards")
def test_best_is_marked_unasked(tmp_path: Path, tiny: Tiny, points: Path) -> None:
    train(tiny("points/meanflow"), open_dataset(points), tmp_path / "run")
    assert not (tmp_path / "run" / "best").exists()
    assert all("score" not in row for row in RunDirectory(tmp_path / "run", 1).rows())


@pytest.mark.usefixtures("plain_cards")
def test_score_changes_the_weights(tmp_path: Path, tiny: Tiny, grey: Path, weights: Any, monkeypatch: Any) -> None:
    """Scoring draws samples inside the network in training: with the data as they are, no bit may move."""
    dataset = open_dataset(grey)
    monkeypatch.setattr("trainer.training.hold_out", lambda dataset, count: (None, dataset.train if count else None))
    every = ["run.save_every=1", "run.keep=9"]
    plain = train(tiny("facets/meanflow", *every), dataset, tmp_path / "plain")
    scored = train(tiny("facets/meanflow", *every, "run.score=4"), dataset, tmp_path / "scored")
    assert weights(scored) == weights(plain)


@pytest.mark.usefixtures("plain_cards")
def test_other_held_out_data_go_on(tmp_path: Path, tiny: Tiny, points: Path) -> None:
    """Without a test split the score decides what is trained on, so it may not change at a resume."""
    out, dataset = tmp_path / "run", open_dataset(points)
    train(tiny("points/meanflow", "run.steps=1", "run.score=2"), dataset, out)
    with pytest.raises(ValueError, match=r"run.score was \[2\] and is \[0\] now"):
        train(tiny("points/meanflow", "run.score=0"), dataset, out, resume=True)


def test_score_is_told_nowhere(tmp_path: Path, tiny: Tiny, points: Path) -> None:
    """In the log, in metrics.json and in the card, with the words that it is no FID; and the best one exports."""
    out = tmp_path / "run"
    told: list[str] = []
    recipe = tiny("points/meanflow", "run.score=2", "run.sample_steps=[1]")
    folder = train(recipe, open_dataset(points), out, tell=told.append)
    logged = RunDirectory(out, 1).rows()[-1]["score"]
    assert logged == json.loads((folder / "metrics.json").read_text())["score"]
    assert {key: logged[key] for key in ("samples", "steps", "seed")} == {"samples": 2, "steps": 1, "seed": 1_000_000}
    assert "no FID" in logged["of"]
    card = (folder / "README.md").read_text()
    assert "energy distance" in card
    assert "data: points, 36 training samples (4 more were held out for the score), licence" in card
    assert "seeds 1000000 to 1000001) and 2 real ones; two sets of 2 real ones are" in card
    assert "no FID" in card
    assert [line.split(":")[0] for line in told] == [f"saved {out}/step-{step:08d}" for step in (3, 6)]
    assert "the best so far" in told[0]
    assert export(out / "best", tmp_path / "bundle").manifest.name == "bundle"

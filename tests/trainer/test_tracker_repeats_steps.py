"""TensorBoard gets every number of the log and the samples of every checkpoint, each step once, resumed or not."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import longjump
from trainer.card import numbers_of
from trainer.data.dataset import open_dataset
from trainer.loop import train
from trainer.recipe import Recipe
from trainer.rundir import RunDirectory
from trainer.track import check_tracker, tracking

Tiny = Callable[..., Recipe]


@pytest.fixture
def quick_cards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checkpoints whose samples are one grey pixel."""
    buffer = io.BytesIO()
    Image.new("L", (1, 1), 128).save(buffer, "png")
    monkeypatch.setattr("trainer.loop.checkpoint_files", lambda *_: {"samples.png": buffer.getvalue()})


def shown(out: Path) -> EventAccumulator:
    return EventAccumulator(str(out / "tensorboard"), size_guidance={"images": 0, "scalars": 0}).Reload()


def check_all(out: Path, rows: list[dict[str, Any]]) -> None:
    """Each number of each row, once, in order."""
    found, expected = shown(out), [numbers_of(row) for row in rows]
    names = {name for row in expected for name in row} - {"step"}
    assert set(found.Tags()["scalars"]) == names
    for name in names:
        points = [(int(row["step"]), row[name]) for row in expected if name in row]
        events = found.Scalars(name)
        assert [event.step for event in events] == [step for step, _ in points]
        assert [event.value for event in events] == pytest.approx([value for _, value in points], rel=1e-6)


@pytest.mark.usefixtures("quick_cards")
def test_number_or_picture_is_not_shown(tmp_path: Path, tiny: Tiny, points: Path) -> None:
    out = tmp_path / "run"
    train(tiny("points/meanflow", "run.score=2"), open_dataset(points), out, track="tensorboard")
    rows = RunDirectory(out, 1).rows()
    check_all(out, rows)
    assert {"loss", "lr", "gradient", "loss/jump", "score/energy_distance"} <= set(shown(out).Tags()["scalars"])
    assert [event.step for event in shown(out).Images("samples")] == [3, 6]


@pytest.mark.usefixtures("quick_cards")
def test_resumed_steps_are_shown_twice(tmp_path: Path, tiny: Tiny, points: Path) -> None:
    """Killed two steps after its checkpoint: TensorBoard has seen those two steps already."""
    recipe, dataset, out = tiny("points/meanflow"), open_dataset(points), tmp_path / "run"

    class Killed(BaseException):
        pass

    asked = iter(range(1, 7))

    def kill() -> bool:
        if next(asked) == 6:
            raise Killed
        return False

    with pytest.raises(Killed):
        train(recipe, dataset, out, track="tensorboard", stop=kill)
    assert [event.step for event in shown(out).Scalars("loss")] == [1, 2, 3, 4, 5]
    train(recipe, dataset, out, track="tensorboard", resume=True)
    check_all(out, RunDirectory(out, 1).rows())
    assert [event.step for event in shown(out).Images("samples")] == [3, 6]


@pytest.mark.usefixtures("quick_cards")
def test_steps_before_tracking_are_missing(tmp_path: Path, tiny: Tiny, points: Path, stop_after: Any) -> None:
    """Asked for only at the resume, it still shows the whole run; not asked for, nothing is written."""
    recipe, dataset, out = tiny("points/meanflow"), open_dataset(points), tmp_path / "run"
    train(recipe, dataset, out, stop=stop_after(3))
    assert not (out / "tensorboard").exists()
    train(recipe, dataset, out, track="tensorboard", resume=True)
    check_all(out, RunDirectory(out, 1).rows())


def test_missing_wandb_is_a_traceback(points: Path, tmp_path: Path, capsys: Any, monkeypatch: Any) -> None:
    """And it is found before anything is written."""
    monkeypatch.setattr("accelerate.utils.is_wandb_available", lambda: False)
    with pytest.raises(ValueError, match="pip install wandb"):
        check_tracker("wandb")
    words = ["train", "points/meanflow", "--data", str(points), "--out", str(tmp_path / "run"), "--track", "wandb"]
    assert longjump.main(words) == 2
    assert "--track wandb needs the Python package 'wandb', which is not installed" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_wandb_is_told_less(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The calls that Accelerate's tracker gets: rows by step, pictures, and the same id after a resume."""
    told: list[tuple[Any, ...]] = []

    class Recorder:
        def __init__(self, project: str, **settings: Any) -> None:
            told.append(("init", project, settings["name"], settings["id"]))
            self.run = type("Run", (), {"id": settings["id"] or "fresh"})

        def start(self) -> None:
            told.append(("start",))

        def store_init_configuration(self, values: dict[str, Any]) -> None:
            told.append(("config", values))

        def log(self, values: dict[str, Any], step: int) -> None:
            told.append(("row", step, values))

        def log_images(self, values: dict[str, Any], step: int) -> None:
            told.append(("picture", step, list(values)))

        def finish(self) -> None:
            told.append(("finish",))

    monkeypatch.setattr("accelerate.tracking.WandBTracker", Recorder)
    buffer = io.BytesIO()
    Image.new("L", (1, 1)).save(buffer, "png")
    with tracking("wandb", tmp_path, 0, [], {"kind": "points"}) as tracker:
        tracker.row({"step": 3, "loss": 0.5, "score": {"floor": 0.1, "of": "words"}})
        tracker.picture(3, buffer.getvalue())
    with tracking("wandb", tmp_path, 3, [], {}):
        pass
    assert told[:6] == [
        ("init", "longjump", tmp_path.name, None),
        ("start",),
        ("config", {"kind": "points"}),
        ("row", 3, {"loss": 0.5, "score/floor": 0.1}),
        ("picture", 3, ["samples"]),
        ("finish",),
    ]
    assert told[6] == ("init", "longjump", tmp_path.name, "fresh")

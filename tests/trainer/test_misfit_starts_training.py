"""What cannot work is refused in one line, before a network is trained and before anything is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import longjump
from trainer.data.dataset import open_dataset
from trainer.loop import train
from trainer.recipe import Recipe

Tiny = Callable[..., Recipe]

MISFITS: dict[str, tuple[str, list[str], str, str]] = {
    "points for pictures": (
        "facets/meanflow",
        [],
        "points",
        "the recipe is for image; take one for points",
    ),
    "pictures for points": ("points/meanflow", [], "grey", "trees is of kind image; the recipe is for points"),
    "batch": ("points/meanflow", ["run.batch=41"], "points", "fewer than a batch of 41; --set run.batch=40 or less"),
    "patch": ("facets/meanflow", ["model.patch=3"], "grey", "multiples of 3, not 8x8"),
    "heads": ("facets/meanflow", ["model.heads=3"], "grey", r"width 16 must be a multiple of heads \(3\)"),
    "muon without blocks": ("points/meanflow", ["optimiser.name=muon"], "points", "muon is for a network with blocks"),
    "guidance without labels": (
        "points/meanflow",
        ["objective.guidance.omega=2"],
        "points",
        "objective.guidance has the scale 2, but data set points has no labels",
    ),
}


@pytest.mark.parametrize("name", MISFITS)
def test_misfit_writes_something(tmp_path: Path, tiny: Tiny, request: pytest.FixtureRequest, name: str) -> None:
    recipe, overrides, data, message = MISFITS[name]
    dataset = open_dataset(request.getfixturevalue(data))
    with pytest.raises(ValueError, match=message):
        train(tiny(recipe, *overrides), dataset, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("plain_cards")
def test_whole_data_set_in_a_batch_is_refused(tmp_path: Path, tiny: Tiny, points: Path) -> None:
    """Negative control of "batch": exactly as many fit."""
    train(tiny("points/meanflow", "run.batch=40", "run.steps=2"), open_dataset(points), tmp_path / "run")


@pytest.mark.usefixtures("plain_cards")
def test_guidance_with_labels_is_refused(tmp_path: Path, tiny: Tiny, plane: Path) -> None:
    """Negative control of "guidance without labels"."""
    recipe = tiny("points/meanflow", "objective.guidance.omega=2", "run.steps=2")
    train(recipe, open_dataset(plane), tmp_path / "run")


def test_folder_in_use_is_overwritten(tmp_path: Path, tiny: Tiny, points: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("years of work")
    with pytest.raises(FileExistsError, match="run is not empty; give another --out, or --resume"):
        train(tiny("points/meanflow"), open_dataset(points), tmp_path / "run")
    assert [file.name for file in (tmp_path / "run").iterdir()] == ["thesis.tex"]


def test_folder_that_cannot_be_made_is_not_named(tmp_path: Path, tiny: Tiny, points: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(OSError, match=r"file/run cannot be made \(Not a directory\); give another --out"):
        train(tiny("points/meanflow"), open_dataset(points), tmp_path / "file" / "run")


@pytest.mark.usefixtures("plain_cards")
def test_empty_folder_is_refused(tmp_path: Path, tiny: Tiny, points: Path) -> None:
    (tmp_path / "run").mkdir()
    train(tiny("points/meanflow", "run.steps=1"), open_dataset(points), tmp_path / "run")


@pytest.fixture
def refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run `longjump train ...`, which must refuse before it builds a network; what it says."""

    def never(*_: Any) -> None:
        pytest.fail("a network was built")

    monkeypatch.setattr("trainer.training.build_for", never)

    def run(*words: str) -> str:
        assert longjump.main(["train", *words, "--out", str(tmp_path / "run")]) == 2
        out, err = capfd.readouterr()
        assert err.startswith("longjump train: error: ")
        assert err.count("\n") == 1
        assert out == ""
        assert not (tmp_path / "run").exists()
        return err

    return run


def test_missing_data_path_is_found_late(tmp_path: Path, refused: Callable[..., str]) -> None:
    said = refused("points/meanflow", "--data", str(tmp_path / "nowhere"))
    assert f"{tmp_path}/nowhere does not exist; give a data set folder or an npz file" in said


def test_damaged_data_is_found_late(tmp_path: Path, refused: Callable[..., str]) -> None:
    np.savez(tmp_path / "bad.npz", x=np.array([[0.1], [np.nan]], dtype=np.float32))
    assert "bad.npz: x[1] is [nan]" in refused("points/meanflow", "--data", str(tmp_path / "bad.npz"))


def test_unknown_recipe_is_found_late(points: Path, refused: Callable[..., str]) -> None:
    assert "did you mean points/meanflow?" in refused("points/meanflo", "--data", str(points))


@pytest.mark.parametrize("device", ["cuda:99", "gpu", "warp:0", "meta"])
def test_missing_device_is_found_late(points: Path, refused: Callable[..., str], device: str) -> None:
    assert f"--device {device} cannot be used: " in refused(
        "points/meanflow", "--data", str(points), "--device", device
    )


@pytest.mark.parametrize("threads", ["0", "-2", "many", "1.5"])
def test_senseless_threads_are_ignored(points: Path, capsys: pytest.CaptureFixture[str], threads: str) -> None:
    with pytest.raises(SystemExit) as caught:
        longjump.main(["train", "points/meanflow", "--data", str(points), "--out", "run", f"--threads={threads}"])
    assert caught.value.code == 2
    assert f"argument --threads: '{threads}' is not a number of 1 or more" in capsys.readouterr().err


def test_help_leaves_a_newcomer_alone(capsys: pytest.CaptureFixture[str]) -> None:
    """What it does, an example, every option with a word, and how recipes are called."""
    with pytest.raises(SystemExit) as caught:
        longjump.main(["train", "--help"])
    assert caught.value.code == 0
    said = capsys.readouterr().out
    for word in ("RECIPE", "--data PATH", "--out DIR", "--set A.B=C", "--resume", "--device", "--threads N"):
        assert word in said
    flat = " ".join(said.split())
    assert "longjump train points/meanflow --data" in flat
    assert "DATA/METHOD of a shipped one, such as points/meanflow, for cifar10, facets, fashion-mnist, " in flat

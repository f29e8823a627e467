"""A checkpoint that a run cannot use is refused in one line that names the option, before a network is built.

By the real command line. Whether one is needed at all is decided before the data is looked at.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import longjump
from models.checkpoint import find_checkpoint, read_config
from trainer.company import lender
from trainer.data.dataset import open_dataset
from trainer.loop import train
from trainer.objectives import methods
from trainer.recipe import Recipe

Refused = Callable[..., str]

DISTILLERS = [name for name, method in methods().items() if method.teacher == "required"]
OTHERS = [name for name, method in methods().items() if method.teacher == "none"]


@pytest.fixture(scope="module")
def runs(
    tmp_path_factory: pytest.TempPathFactory, tiny: Callable[..., Recipe], points: Path, plane: Path, grey: Path
) -> Path:
    """Finished tiny runs, by name: a teacher on each kind of data, another one, one of s = 0, a wider network."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("trainer.loop.checkpoint_files", lambda *_: {"README.md": b"# tiny\n"})
        for name, recipe, data, more in (
            ("points", "points/flow-matching", points, []),
            ("other", "points/flow-matching", points, ["run.seed=1"]),
            ("plane", "points/flow-matching", plane, []),
            ("grey", "facets/flow-matching", grey, []),
            ("endpoint", "points/ct", points, []),
            ("wide", "points/flow-matching", points, ["model.width=24"]),
        ):
            train(tiny(recipe, "run.steps=1", *more), open_dataset(data), folder / name)
    return folder


@pytest.fixture
def refused(tmp_path: Path, points: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> Refused:
    """`refused(RECIPE, WORDS...)`: run `longjump train` on points, which must refuse; what it says after `error: `."""

    def never(*_: Any) -> None:
        pytest.fail("a network was built")

    def run(recipe: str, *words: str, data: Path = points) -> str:
        out = tmp_path / "run"
        with monkeypatch.context() as patch:
            patch.setattr("trainer.training.build_for", never)
            assert longjump.main(["train", recipe, "--data", str(data), "--out", str(out), *words]) == 2
        said, wrong = capfd.readouterr()
        assert wrong.startswith("longjump train: error: ")
        assert wrong.count("\n") == 1
        assert said == ""
        assert not out.exists()
        return wrong.removeprefix("longjump train: error: ").rstrip()

    return run


@pytest.mark.parametrize("name", DISTILLERS)
def test_missing_teacher_is_found_late(refused: Refused, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Not even the path of the data is looked at."""
    monkeypatch.setattr("trainer.data.dataset.open_dataset", lambda *_: pytest.fail("the data was opened"))
    said = refused(f"points/{name}", data=Path("/nowhere"))
    assert said.startswith(f"{name} distils a trained model, and none is given: --teacher CHECKPOINT")


@pytest.mark.parametrize("name", OTHERS)
def test_idle_teacher_is_taken(refused: Refused, runs: Path, name: str) -> None:
    for option in ("teacher", "weak-teacher"):
        said = refused(f"points/{name}", f"--{option}", str(runs / "points"), data=Path("/nowhere"))
        assert said == f"{name} has no teacher; leave --{option} out"


@pytest.mark.parametrize("name", [name for name in [*DISTILLERS, "split-meanflow"] if not name.startswith("ayf")])
def test_idle_weak_teacher_is_taken(refused: Refused, runs: Path, name: str) -> None:
    words = ["--teacher", str(runs / "points"), "--weak-teacher", str(runs / "points")]
    said = refused(f"points/{name}", *words, data=Path("/nowhere"))
    assert said == f"--weak-teacher is for autoguidance, which {name} does not have; leave it out"


def test_weak_teacher_without_a_range_is_taken(refused: Refused, runs: Path) -> None:
    words = ["--teacher", str(runs / "points"), "--weak-teacher", str(runs / "points")]
    said = refused("points/ayf-emd", *words, "--set", "objective.autoguidance=null")
    assert "autoguidance, which this recipe does not have; --set 'objective.autoguidance={range: [1, 3]}'" in said


def test_teacher_leads_away_from_itself(refused: Refused, runs: Path) -> None:
    """The strength of autoguidance would be served, and change nothing."""
    words = ["--teacher", str(runs / "points"), "--weak-teacher", str(runs / "points")]
    said = refused("points/ayf-emd", *words)
    assert said.startswith(
        "--weak-teacher is the teacher itself, so that autoguidance would lead nowhere; give a worse"
    )


MISFITS: dict[str, tuple[str, str]] = {
    "plane": ("points", "--teacher is for data of shape 2, and this run's are 1; give another"),
    "grey": ("points", "--teacher is of kind image, and this run's are points; give another"),
    "points": ("plane", "--teacher is for data of shape 1, and this run's are 2; give another"),
    "endpoint": (
        "points",
        "--teacher is a ct model, of span endpoint, which has no velocity to teach; give",
    ),
}


@pytest.mark.parametrize("teacher", MISFITS)
def test_misfit_teaches(refused: Refused, runs: Path, request: pytest.FixtureRequest, teacher: str) -> None:
    data, message = MISFITS[teacher]
    said = refused("points/cd", "--teacher", str(runs / teacher), data=request.getfixturevalue(data))
    assert said.startswith(message)


def test_teacher_of_other_classes_teaches(refused: Refused, runs: Path, plane: Path, tmp_path: Path) -> None:
    """The same points, with a name changed: its label 0 would be another's."""
    config = altered(runs / "plane", tmp_path / "renamed", labels=["0", "1", "two"])
    said = refused("points/cd", "--teacher", str(config), data=plane)
    assert said == "--teacher knows the classes 0, 1, two, and this run's are 0, 1, 2; give another"


def test_teacher_of_fewer_times_teaches(refused: Refused, runs: Path, tmp_path: Path) -> None:
    early = altered(runs / "points", tmp_path / "early", t_max=0.5)
    said = refused("points/ayf-emd", "--teacher", str(early))
    assert said.startswith("--teacher knows times up to 0.5, and ayf-emd asks for its velocity up to 1;")


def test_half_a_checkpoint_teaches(refused: Refused, runs: Path, tmp_path: Path) -> None:
    """Nothing, a bundle, a file, an empty folder, weights that are missing, cut short or another network's."""
    nowhere = refused("points/cd", "--teacher", str(tmp_path / "nowhere"))
    assert nowhere.startswith(f"--teacher: {tmp_path}/nowhere: neither a checkpoint (no config.json) nor a run")
    assert nowhere.endswith("; it does not exist")
    bundle = refused("points/cd", "--teacher", str(Path(longjump.__file__).parent / "server" / "demo"))
    assert "server/demo is a bundle, without weights to read; give the checkpoint or the run" in bundle
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("weights")
    for name in ("empty", "file"):
        said = refused("points/cd", "--teacher", str(tmp_path / name))
        assert said.startswith(f"--teacher: {tmp_path}/{name}: neither a checkpoint (no config.json) nor a run")
    for name, spoil in (
        ("gone", lambda file: file.unlink()),
        ("cut", lambda file: file.write_bytes(file.read_bytes()[:200])),
        ("none", lambda file: file.write_bytes(b"")),
        ("swapped", lambda file: shutil.copy(find_checkpoint(runs / "wide") / file.name, file)),
    ):
        half = altered(runs / "points", tmp_path / name)
        (file,) = half.glob(f"ema-{read_config(half).emas[0]}.safetensors")
        spoil(file)
        said = refused("points/cd", "--teacher", str(half))
        assert said.startswith(f"--teacher: {file}")
    broken = altered(runs / "points", tmp_path / "broken")
    (broken / "config.json").write_text("{")
    assert f"--teacher: {broken}/config.json: not JSON" in refused("points/cd", "--teacher", str(broken))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"method": "nonsense"}, "method: there is no nonsense in this longjump; use the version that wrote it, or"),
        (
            {"recipe": {"objective": {"method": "flow-matching", "later": 1}}},
            "recipe.objective.later: Extra inputs are",
        ),
        ({"recipe": {"kind": "points"}}, "recipe.objective: Input should be a valid dictionary"),
    ],
)
def test_checkpoint_of_another_version_is_a_traceback(
    refused: Refused, runs: Path, tmp_path: Path, changed: dict[str, Any], message: str
) -> None:
    other = altered(runs / "points", tmp_path / "other", **changed)
    for recipe, option in (("cd", "--teacher"), ("meanflow", "--init")):
        said = refused(f"points/{recipe}", option, str(other))
        assert said.startswith(f"{option}: {other}/config.json: {message}")


def test_other_network_begins_a_run(refused: Refused, runs: Path) -> None:
    said = refused("points/meanflow", "--init", str(runs / "wide"))
    assert said.startswith("--init has the network [")
    assert "width=24" in said
    assert said.endswith("; set the recipe's model to that one")
    assert refused("points/meanflow", "--init", str(runs / "none")).startswith("--init: ")


def test_guidance_of_a_teacher_is_left_out(tmp_path: Path, tiny: Callable[..., Recipe], plane: Path) -> None:
    """Its student's velocity is guided too. Not one that had not begun to be, nor the default of a range, 1."""
    for name, guidance, found in (
        ("one", {"kappa": 0.5}, "2"),
        ("late", {"kappa": 0.5, "start_step": 9}, None),
        ("range", {"range": [1, 4], "default": 3}, "3"),
        ("plain", {"range": [1, 4], "default": 1}, None),
    ):
        recipe = tiny("points/meanflow", "run.steps=1", f"objective.guidance={json.dumps(guidance)}")
        train(recipe, open_dataset(plane), tmp_path / name)
        assert lender(tmp_path / name).origin.get("guided") == found, name


def test_other_teacher_goes_on(
    tmp_path: Path, runs: Path, points: Path, tiny_command: Callable[..., list[str]], capfd: Any
) -> None:
    """A run is resumed with the teacher that it began with, wherever that lies now, and with no other."""
    words = ["train", *tiny_command("points/cd"), "--data", str(points), "--out", str(tmp_path / "run")]
    assert longjump.main([*words, "--teacher", str(runs / "points")]) == 0
    moved = altered(runs / "points", tmp_path / "moved")
    capfd.readouterr()
    assert longjump.main([*words, "--resume", "--teacher", str(runs / "other")]) == 2
    said = capfd.readouterr().err
    assert said.count("\n") == 1
    assert "cannot be resumed: --teacher was [flow-matching after 1 steps, weights " in said
    assert longjump.main([*words, "--resume", "--teacher", str(moved)]) == 0


@pytest.mark.parametrize("name", [name for name, method in methods().items() if method.no_average])
def test_averaged_target_is_taken(refused: Refused, name: str) -> None:
    said = refused(f"points/{name}", "--set", "objective.target_ema=0.99", data=Path("/nowhere"))
    assert said == (f"points/{name}: objective: target_ema is 0.99, but {methods()[name].no_average}; leave it out")


def altered(run: Path, copy: Path, **changes: Any) -> Path:
    """A copy of a run's checkpoint with another config."""
    shutil.copytree(find_checkpoint(run), copy)
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, **changes}))
    return copy

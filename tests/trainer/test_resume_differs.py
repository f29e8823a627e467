"""A run that was stopped and resumed must end in the same bits as one that was not, and log the same numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from models.checkpoint import load_checkpoint
from trainer.data.dataset import Dataset, open_dataset
from trainer.loop import train
from trainer.recipe import Recipe, load_recipe
from trainer.rundir import RunDirectory

pytestmark = pytest.mark.usefixtures("plain_cards")

RECIPES = ["points/meanflow", "points/flow-matching", "facets/meanflow", "facets/flow-matching"]
BESIDE = {
    "sct": ("companion", ["objective.learned_weight=true"]),
    "shortcut": ("lagged", ["objective.target_ema=0.9"]),
    "ct": ("lagged", ["objective.target_ema=0.9"]),
}
"""By method, the network that is trained or averaged beside its own."""
Tiny = Callable[..., Recipe]


def log_of(out: Path) -> list[dict[str, Any]]:
    """The log without what depends on the machine and the moment."""
    passing = {"per_second", "memory", "mfu"}
    return [{key: value for key, value in row.items() if key not in passing} for row in RunDirectory(out, 1).rows()]


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("pause", [3, 5], ids=["mid-epoch", "between saves"])
def test_resumed_run_ends_elsewhere(
    tmp_path: Path, tiny: Tiny, data_for: Callable[[str], Dataset], stop_after: Any, weights: Any, name: str, pause: int
) -> None:
    """6 steps against 3 + 3 and 5 + 1: an epoch has 2 steps (points) or 5 (pictures); pictures use Muon."""
    guided = ["objective.guidance={kappa: 0.4, start_step: 2}"] if name == "facets/meanflow" else []
    recipe, dataset = tiny(name, *guided), data_for(name)
    straight = train(recipe, dataset, tmp_path / "straight")
    paused = train(recipe, dataset, tmp_path / "paused", stop=stop_after(pause))
    assert paused.name == f"step-{pause:08d}"
    resumed = train(recipe, dataset, tmp_path / "paused", resume=True)
    assert straight.name == resumed.name == "step-00000006"
    assert weights(straight).keys() == {
        "model.safetensors",
        "ema-0.050.safetensors",
        "ema-0.100.safetensors",
        "resume/state.safetensors",
    }
    assert weights(resumed) == weights(straight)
    assert log_of(tmp_path / "paused") == log_of(tmp_path / "straight")
    assert [row["step"] for row in log_of(tmp_path / "paused")] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("method", BESIDE)
@pytest.mark.parametrize(
    ("kind", "pause"),
    [("points", 3), ("points", 5), ("facets", 3)],
    ids=["mid-epoch", "between saves", "pictures"],
)
def test_resumed_network_beside_is_a_fresh_one(
    tmp_path: Path,
    tiny: Tiny,
    data_for: Callable[[str], Dataset],
    stop_after: Any,
    weights: Any,
    method: str,
    kind: str,
    pause: int,
) -> None:
    """A learned weight of the loss, averaged weights that make targets: these too, and with them the same bits."""
    name, (beside, settings) = f"{kind}/{method}", BESIDE[method]
    recipe, dataset = tiny(name, *settings), data_for(name)
    straight = train(recipe, dataset, tmp_path / "straight")
    train(recipe, dataset, tmp_path / "paused", stop=stop_after(pause))
    resumed = train(recipe, dataset, tmp_path / "paused", resume=True)
    assert f"resume/{beside}.safetensors" in weights(straight)
    assert weights(resumed) == weights(straight)
    assert log_of(tmp_path / "paused") == log_of(tmp_path / "straight")


@pytest.mark.parametrize("method", BESIDE)
def test_lost_network_beside_goes_unnoticed(
    tmp_path: Path,
    tiny: Tiny,
    data_for: Callable[[str], Dataset],
    stop_after: Any,
    weights: Any,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
) -> None:
    """Negative control: where it begins anew after the pause, the map ends elsewhere."""
    name, (beside, settings) = f"points/{method}", BESIDE[method]
    recipe, dataset = tiny(name, *settings), data_for(name)
    straight = weights(train(recipe, dataset, tmp_path / "straight"))
    train(recipe, dataset, tmp_path / "paused", stop=stop_after(3))
    restore = RunDirectory.restore

    def forgetful(self: RunDirectory, config: Any, flow_map: Any, emas: Any, optimisers: Any, found: Any) -> int:
        return restore(self, config, flow_map, emas, optimisers, {key: found[key] for key in found if key != beside})

    monkeypatch.setattr(RunDirectory, "restore", forgetful)
    resumed = weights(train(recipe, dataset, tmp_path / "paused", resume=True))
    assert resumed["model.safetensors"] != straight["model.safetensors"]


@pytest.mark.parametrize("lost", ["averages", "moments", "step"])
def test_lost_state_goes_unnoticed(
    tmp_path: Path,
    tiny: Tiny,
    data_for: Callable[[str], Dataset],
    stop_after: Any,
    weights: Any,
    monkeypatch: pytest.MonkeyPatch,
    lost: str,
) -> None:
    """Negative control: each part of the state decides the bits, so the comparison above would see its loss."""
    recipe, dataset = tiny("facets/meanflow"), data_for("facets/meanflow")
    straight = weights(train(recipe, dataset, tmp_path / "straight"))
    train(recipe, dataset, tmp_path / "paused", stop=stop_after(3))
    restore = RunDirectory.restore

    def forgetful(self: RunDirectory, config: Any, flow_map: Any, emas: Any, optimisers: Any, beside: Any) -> int:
        averages, moments = [dict(ema.state) for ema in emas], optimisers.state()
        step = restore(self, config, flow_map, emas, optimisers, beside)
        if lost == "averages":
            for ema, state in zip(emas, averages, strict=True):
                ema.state = state
        elif lost == "moments":
            optimisers.load(moments)
        else:
            step += 1
        return step

    monkeypatch.setattr(RunDirectory, "restore", forgetful)
    assert weights(train(recipe, dataset, tmp_path / "paused", resume=True)) != straight


def test_run_killed_before_its_first_checkpoint_is_stuck(
    tmp_path: Path, tiny: Tiny, points: Path, weights: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its folder is not empty, so it cannot start; --resume must then start it from the first step."""
    recipe, dataset, out = tiny("points/meanflow"), open_dataset(points), tmp_path / "run"
    straight = train(recipe, dataset, tmp_path / "straight")
    with monkeypatch.context() as patch:
        patch.setattr(RunDirectory, "save", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            train(recipe, dataset, out)
    assert {file.name for file in out.iterdir()} == {"README.md", "recipe.yaml", "log.jsonl"}
    assert weights(train(recipe, dataset, out, resume=True)) == weights(straight)
    assert log_of(out) == log_of(tmp_path / "straight")


@pytest.mark.parametrize("there", [True, False])
def test_resume_without_a_run_starts_one(tmp_path: Path, tiny: Tiny, points: Path, there: bool) -> None:
    """A misspelt --out must not start anew."""
    out = tmp_path / "run"
    if there:
        out.mkdir()
    with pytest.raises(FileNotFoundError, match="run: neither a checkpoint"):
        train(tiny("points/meanflow"), open_dataset(points), out, resume=True)
    assert not there or not any(out.iterdir())


OTHER: dict[str, tuple[list[str], str]] = {
    "network": (["model.width=32"], r"model was \[.*width=16.*\] and is \[.*width=32.*\] now"),
    "parametrisation": (["model.sigma_data=0.7"], "model was "),
    "averages": (["run.ema=[0.05]"], r"run.ema was \[0\.100, 0\.050\] and is \[0\.050\] now"),
}


@pytest.mark.parametrize("change", OTHER)
def test_another_network_goes_on(tmp_path: Path, tiny: Tiny, points: Path, weights: Any, change: str) -> None:
    overrides, message = OTHER[change]
    out, dataset = tmp_path / "run", open_dataset(points)
    before = weights(train(tiny("points/meanflow", "run.steps=1"), dataset, out))
    with pytest.raises(ValueError, match=f"step-00000001 cannot be resumed: {message}"):
        train(tiny("points/meanflow", *overrides), dataset, out, resume=True)
    assert weights(out / "step-00000001") == before


def test_another_method_data_or_optimiser_goes_on(tmp_path: Path, tiny: Tiny, points: Path, grey: Path) -> None:
    out, pictures = tmp_path / "run", open_dataset(grey)
    train(tiny("facets/meanflow", "run.steps=1"), pictures, out)
    with pytest.raises(ValueError, match=r"optimiser.name was \[muon\] and is \[adamw\] now"):
        train(tiny("facets/meanflow", "optimiser.name=adamw"), pictures, out, resume=True)
    with pytest.raises(ValueError, match=r"objective.method was \[meanflow\] and is \[flow-matching\] now"):
        train(tiny("facets/flow-matching"), pictures, out, resume=True)
    with pytest.raises(ValueError, match=r"data was \[[0-9a-f]{64}\] and is \[[0-9a-f]{64}\] now"):
        train(tiny("points/meanflow"), open_dataset(points), out, resume=True)


def test_longer_run_is_refused(tmp_path: Path, tiny: Tiny, points: Path) -> None:
    """Length and rates may change; the recipe in the folder is then the new one."""
    out, dataset = tmp_path / "run", open_dataset(points)
    train(tiny("points/meanflow", "run.steps=2"), dataset, out)
    recipe = tiny("points/meanflow", "run.steps=4", "optimiser.lr=1e-4")
    assert train(recipe, dataset, out, resume=True).name == "step-00000004"
    assert load_recipe(str(out / "recipe.yaml")) == recipe
    assert yaml.safe_load((out / "recipe.yaml").read_text())["run"]["steps"] == 4


def test_finished_run_trains_again(tmp_path: Path, tiny: Tiny, points: Path, weights: Any) -> None:
    recipe, dataset, out = tiny("points/meanflow"), open_dataset(points), tmp_path / "run"
    before, log = weights(train(recipe, dataset, out)), (out / "log.jsonl").read_text()
    assert weights(train(recipe, dataset, out, resume=True)) == before
    assert (out / "log.jsonl").read_text() == log


@pytest.mark.parametrize("file", ["model.safetensors", "ema-0.100.safetensors", "resume/state.safetensors"])
@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_damaged_checkpoint_goes_on(tmp_path: Path, tiny: Tiny, points: Path, file: str, damage: str) -> None:
    recipe, dataset = tiny("points/meanflow", "run.steps=2"), open_dataset(points)
    victim = train(recipe, dataset, tmp_path / "run") / file
    if damage == "missing":
        victim.unlink()
    else:
        victim.write_bytes(victim.read_bytes()[:-1])
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        train(tiny("points/meanflow", "run.steps=4"), dataset, tmp_path / "run", resume=True)
    assert str(victim) in str(caught.value)


def test_files_of_two_checkpoints_mix(tmp_path: Path, tiny: Tiny, points: Path, data_for: Any) -> None:
    """The optimiser's state of another network has other shapes: say so, with the folder."""
    dataset = open_dataset(points)
    folder = train(tiny("points/meanflow", "run.steps=1"), dataset, tmp_path / "run")
    other = train(tiny("points/meanflow", "run.steps=1", "model.width=32"), dataset, tmp_path / "other")
    (folder / "model.safetensors").write_bytes((other / "model.safetensors").read_bytes())
    with pytest.raises(ValueError, match="step-00000001: its files do not belong together") as caught:
        train(tiny("points/meanflow"), dataset, tmp_path / "run", resume=True)
    assert "\n" not in str(caught.value)


def test_run_goes_on_inside_a_checkpoint(tmp_path: Path, tiny: Tiny, points: Path) -> None:
    """--resume with the path of a checkpoint in place of its run's: nothing may be written into it."""
    dataset = open_dataset(points)
    checkpoint = train(tiny("points/meanflow", "run.steps=1"), dataset, tmp_path / "run")
    before = sorted(checkpoint.iterdir())
    with pytest.raises(ValueError, match=r"step-00000001 is a checkpoint; .* --out .*run$"):
        train(tiny("points/meanflow"), dataset, checkpoint, resume=True)
    assert sorted(checkpoint.iterdir()) == before


def test_cut_log_line_stops_the_resume(tmp_path: Path, tiny: Tiny, points: Path, stop_after: Any) -> None:
    """Killed while it logged: the half line goes, and so do the rows after the checkpoint."""
    recipe, dataset, out = tiny("points/meanflow"), open_dataset(points), tmp_path / "run"
    train(recipe, dataset, out, stop=stop_after(3))
    with (out / "log.jsonl").open("a") as file:
        file.write('{"step": 4, "lr": 1}\n{"step": 5, "l')
    train(recipe, dataset, out, resume=True)
    assert [row["step"] for row in log_of(out)] == [1, 2, 3, 4, 5, 6]
    assert log_of(out)[3]["lr"] != 1


def test_resumed_checkpoint_does_not_load(tmp_path: Path, tiny: Tiny, points: Path, stop_after: Any) -> None:
    recipe, dataset, out = tiny("points/meanflow"), open_dataset(points), tmp_path / "run"
    train(recipe, dataset, out, stop=stop_after(2))
    train(recipe, dataset, out, resume=True)
    assert load_checkpoint(out)[1].step == 6

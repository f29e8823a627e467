"""A checkpoint gives back what was saved, or says in one line which of its files is wrong."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from export.runtime.grids import flow_grid
from models.build import AnyArchitecture, DiTArchitecture, MLPArchitecture, UNetArchitecture, build
from models.checkpoint import CheckpointConfig, find_checkpoint, load_checkpoint, read_config, write_weights
from models.flow_map import FlowMap

MLP = MLPArchitecture(width=8, depth=1, parametrisation="edm", sigma_data=0.3)
UNET = UNetArchitecture(channels=8, multipliers=(1, 2), blocks=1)
DIT = DiTArchitecture(patch=2, width=8, depth=1, heads=2)


def save(folder: Path, architecture: AnyArchitecture = MLP, step: int = 3) -> dict[str, FlowMap]:
    """A checkpoint with two averages and the raw weights, all different; the flow maps by name."""
    shape, kind = ((2,), "points") if architecture.network == "mlp" else ((1, 4, 4), "image")
    folder.mkdir(parents=True)
    saved = {}
    for seed, name in enumerate(("ema-0.050", "ema-0.100", "model")):
        torch.manual_seed(seed)
        flow_map = build(architecture, shape, 2, "any")
        for parameter in flow_map.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
        write_weights(folder, name, flow_map.state_dict())
        saved[name] = flow_map
    config = CheckpointConfig(
        method="meanflow",
        kind=kind,  # type: ignore[arg-type]
        shape=shape,
        labels=("ash", "birch"),
        architecture=architecture,
        span="any",
        grids={"2": [tuple(jump) for jump in flow_grid(2)]},
        emas=("0.050", "0.100"),
        step=step,
        recipe={"run": {"ema": [0.05, 0.1]}},
        data={"name": "trees"},
    )
    (folder / "config.json").write_text(config.model_dump_json())
    return saved


@pytest.mark.parametrize("architecture", [MLP, DIT, UNET], ids=["mlp", "dit", "unet"])
@pytest.mark.parametrize(
    ("ema", "name"), [(None, "ema-0.050"), ("0.050", "ema-0.050"), ("0.100", "ema-0.100"), ("model", "model")]
)
def test_other_weights_come_back(tmp_path: Path, architecture: AnyArchitecture, ema: str | None, name: str) -> None:
    saved = save(tmp_path / "c", architecture)
    loaded, config = load_checkpoint(tmp_path / "c", ema)
    assert config.architecture == architecture
    assert not loaded.training
    assert (loaded.parametrisation, loaded.span, loaded.sigma_data) == (
        architecture.parametrisation,
        "any",
        architecture.sigma_data,
    )
    expected = saved[name].state_dict()
    assert loaded.state_dict().keys() == expected.keys()
    assert all(torch.equal(value, expected[key]) for key, value in loaded.state_dict().items())
    z = torch.randn(3, *config.shape)
    point = (z, torch.tensor([1.0, 0.6, 0.2]), torch.tensor([0.0, 0.6, 0.1]), torch.tensor([0, 1, 2]))
    with torch.no_grad():
        assert torch.equal(loaded.jump(*point), saved[name].jump(*point))


def test_config_changes_on_the_way(tmp_path: Path) -> None:
    save(tmp_path / "c")
    config = read_config(tmp_path / "c")
    assert CheckpointConfig.model_validate_json(config.model_dump_json()) == config
    assert config.shape == (2,)
    assert config.grids == {"2": [(1.0, 0.5, 1.0, 0.0), (0.5, 0.0, 1.0, 0.0)]}


def test_run_gives_an_old_checkpoint(tmp_path: Path) -> None:
    """A run directory stands for its newest whole checkpoint."""
    for step in (9, 10, 100):
        save(tmp_path / f"step-{step:08d}", step=step)
    (tmp_path / "step-00000200").mkdir()
    assert find_checkpoint(tmp_path).name == "step-00000100"
    assert load_checkpoint(tmp_path)[1].step == 100


def edit_config(**changes: object) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        file = folder / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))

    return spoil


def drop_config_key(folder: Path) -> None:
    tree = json.loads((folder / "config.json").read_text())
    del tree["labels"]
    (folder / "config.json").write_text(json.dumps(tree))


def cut_weights(folder: Path) -> None:
    file = folder / "ema-0.050.safetensors"
    file.write_bytes(file.read_bytes()[:-20])


def folder_of_weights(folder: Path) -> None:
    (folder / "ema-0.050.safetensors").unlink()
    (folder / "ema-0.050.safetensors").mkdir()


def other_network(folder: Path) -> None:
    other = build(MLPArchitecture(width=12, depth=1), (2,), 2, "any")
    write_weights(folder, "ema-0.050", other.state_dict())


SPOILT: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "no weights": (lambda f: (f / "ema-0.050.safetensors").unlink(), "ema-0.050.safetensors", "No such file"),
    "cut weights": (cut_weights, "ema-0.050.safetensors", "damaged"),
    "not weights": (
        lambda f: (f / "ema-0.050.safetensors").write_bytes(b"PK\3\4" * 9),
        "ema-0.050.safetensors",
        "damaged",
    ),
    "another network": (other_network, "ema-0.050.safetensors", "does not hold the weights that config.json describes"),
    "newer format": (edit_config(format=2), "config.json", "checkpoint format 2, but this longjump reads 1"),
    "no format": (edit_config(format=None), "config.json", "checkpoint format None"),
    "unknown key": (edit_config(colour="red"), "config.json", "colour: Extra inputs are not permitted"),
    "missing key": (drop_config_key, "config.json", "labels: Field required"),
    "wrong type": (edit_config(step="many"), "config.json", "step: Input should be a valid integer"),
    "impossible": (edit_config(shape=[3, 8, 8]), "config.json", "network mlp needs points"),
    "not JSON": (lambda f: (f / "config.json").write_text("{"), "config.json", "not JSON"),
    "not text": (lambda f: (f / "config.json").write_bytes(b"\xff\xfe\x00"), "config.json", "not JSON"),
    "endless": (lambda f: (f / "config.json").write_text("[" * 100_000), "config.json", "not JSON"),
    "weights that are a folder": (folder_of_weights, "ema-0.050.safetensors", "it is a folder"),
    "grid of another length": (
        edit_config(grids={"4": [[1, 0, 1, 0]]}),
        "config.json",
        "the one called '4' has 1 jumps",
    ),
    "grid without a number": (edit_config(grids={"abc": [[1, 0, 1, 0]]}), "config.json", "the one called 'abc' has 1"),
    "empty grid": (edit_config(grids={"0": []}), "config.json", "the one called '0' has 0 jumps"),
    "scale out of range": (
        edit_config(guidance={"min": 1, "max": 3, "default": 99}),
        "config.json",
        "got 1.0, 99.0, 3.0",
    ),
    "turned range": (edit_config(guidance={"min": 3, "max": 1, "default": 2}), "config.json", "needs min <= default"),
    "no scale": (edit_config(guidance={"min": 1, "max": 3, "default": math.nan}), "config.json", "finite number"),
    "no last time": (edit_config(t_max=math.nan), "config.json", "t_max: "),
    "not an object": (lambda f: (f / "config.json").write_text("[1]"), "config.json", "a JSON object"),
}


@pytest.mark.parametrize("name", SPOILT)
def test_spoilt_checkpoint_loads(tmp_path: Path, name: str) -> None:
    spoil, file, message = SPOILT[name]
    save(tmp_path / "c")
    spoil(tmp_path / "c")
    with pytest.raises((ValueError, OSError)) as caught:
        load_checkpoint(tmp_path / "c")
    assert str(tmp_path / "c" / file) in str(caught.value)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unknown_average_is_another(tmp_path: Path) -> None:
    save(tmp_path / "c")
    with pytest.raises(ValueError, match=r"no EMA '0\.2'; it has 0\.050, 0\.100 and model"):
        load_checkpoint(tmp_path / "c", "0.2")


@pytest.mark.parametrize("there", [True, False])
def test_no_checkpoint_is_a_checkpoint(tmp_path: Path, there: bool) -> None:
    folder = tmp_path / "nothing"
    if there:
        folder.mkdir()
    with pytest.raises(FileNotFoundError, match=r"nothing: neither a checkpoint .* nor a run"):
        load_checkpoint(folder)


def test_failed_write_is_not_an_oserror(tmp_path: Path) -> None:
    """safetensors has its own exception for a full disk; the front door and the trainer know OSError."""
    with pytest.raises(OSError, match=r"absent.model\.safetensors"):
        write_weights(tmp_path / "absent", "model", {"x": torch.zeros(2)})

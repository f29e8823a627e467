"""The bundle computes what the checkpoint computes, and one that does not never appears."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import export.graph
import longjump
from export.check import BATCHES, TOLERANCE, graph_jump, parity, trial_rows
from export.export import export as export_
from export.runtime.bundle import Bundle, open_bundle
from export.runtime.engines import open_engine
from export.runtime.engines.session import open_session
from export.runtime.grids import flow_grid
from export.runtime.sampler import Jump, sample
from models.checkpoint import load_checkpoint, read_config
from models.numpy_jump import numpy_jump


def test_samples_are_those_of_the_checkpoint(checkpoints: dict[str, Path], exported_image: Bundle) -> None:
    flow_map, config = load_checkpoint(checkpoints["image"])
    engine = open_engine(exported_image, 1)
    for steps in (1, 2, 4):
        args = (config.shape, flow_grid(steps), range(6), [0, 1, 2, 0, 1, 2])
        ours, theirs = sample(engine.jump, *args), sample(numpy_jump(flow_map), *args)
        assert np.abs(ours - theirs).max() < TOLERANCE
        assert np.abs(theirs).max() > 0.5  # there is something to compare
        images = np.rint(np.clip(127.5 * theirs + 127.5, 0, 255)).transpose(0, 2, 3, 1)
        assert np.abs(engine.decode(ours) - images).max() <= 1


def test_the_measured_difference_is_on_record(exported_image: Bundle, exported_points: Bundle) -> None:
    for bundle in (exported_image, exported_points):
        found = bundle.manifest.provenance["parity"]
        assert 0 <= found["max_abs_error"] < 1e-5
        assert (found["tolerance"], found["batches"]) == (1e-4, [1, 2, 3, 7])


def test_the_trial_covers_the_edges() -> None:
    rows = trial_rows(max(BATCHES), (2,), 3, "any")
    times = set(zip(rows.t.tolist(), rows.s.tolist(), strict=True))
    assert (1.0, 0.0) in times
    assert any(t == s for t, s in times)
    assert set(rows.label.tolist()) == {0, 1, 2, 3}
    assert len(np.unique(rows.z, axis=0)) == len(rows.z)


def spoilt(jump: Jump, how: str) -> Jump:
    """The jump with one mistake."""

    def wrong(z, t, s, label, guidance=None):  # type: ignore[no-untyped-def]
        if how == "t and s swapped":
            return jump(z, s, t, label)
        if how == "label ignored":
            return jump(z, t, s, np.zeros_like(label))
        if how == "last row takes the first time":
            t = np.concatenate([t[:-1], t[:1]])
            return jump(z, t, s, label)
        if how == "not a number at batch 7":
            return jump(z, t, s, label) * np.float32(np.nan if len(z) == 7 else 1)
        if how == "u at (t, t)":
            return z - (t - s)[:, None, None, None] * (z - jump(z, t, np.zeros_like(t), label)) / t[:, None, None, None]
        return jump(z, t, s, label) + np.float32(2 * TOLERANCE)

    return wrong


@pytest.mark.parametrize(
    "how",
    [
        "t and s swapped",
        "label ignored",
        "last row takes the first time",
        "not a number at batch 7",
        "u at (t, t)",
        "off by 2e-4",
    ],
)
def test_a_mistake_is_found(checkpoints: dict[str, Path], how: str) -> None:
    flow_map, config = load_checkpoint(checkpoints["image"])
    jump = numpy_jump(flow_map)
    assert parity(jump, jump, config.shape, 2, "any") == 0.0
    with pytest.raises(ValueError, match=r"differs from the checkpoint by .* \(batch \d, t=.*more than 0.0001"):
        parity(jump, spoilt(jump, how), config.shape, 2, "any")


def test_a_graph_of_swapped_times_is_found(make_jump: Callable) -> None:
    right, swapped = (
        graph_jump(open_session(make_jump(last=last).SerializeToString(), last, 1)) for last in ("jumped", "swapped")
    )
    assert parity(right, right, (3, 4, 4), 2, "any") == 0.0
    with pytest.raises(ValueError, match="differs from the checkpoint"):
        parity(right, swapped, (3, 4, 4), 2, "any")


def test_a_wrong_graph_does_not_become_a_bundle(
    checkpoints: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = export.graph.build_jump

    def other_weights(flow_map, shape, labels, guidance):  # type: ignore[no-untyped-def]
        with torch.no_grad():
            next(flow_map.parameters()).add_(0.01)
        data = build(flow_map, shape, labels, guidance)
        with torch.no_grad():
            next(flow_map.parameters()).sub_(0.01)
        return data

    monkeypatch.setattr(export.graph, "build_jump", other_weights)
    with pytest.raises(ValueError, match="no bundle was written"):
        export_(checkpoints["points"], tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_velocity_map_makes_euler_steps(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    bundle = export_(checkpoints["flow"], tmp_path / "flow")
    manifest = bundle.manifest
    assert (manifest.span, manifest.default_steps, manifest.image_shape) == ("velocity", 4, (4, 4, 3))
    flow_map, _ = load_checkpoint(checkpoints["flow"])
    engine = open_engine(bundle, 1)
    rows = trial_rows(5, manifest.z_shape, 2, "velocity")
    with torch.inference_mode():
        z, t, label = (torch.from_numpy(value) for value in (rows.z, rows.t, rows.label))
        velocity = flow_map(z, t, t, label).numpy()
        other = flow_map(z, t, torch.from_numpy(rows.s), label).numpy()
    step = (rows.t - rows.s)[:, None, None, None]
    moved = rows.through(engine.jump)
    np.testing.assert_allclose(moved, rows.z - step * velocity, atol=1e-5)
    assert np.abs(moved - (rows.z - step * other)).max() > 1e-3


def test_the_weights_asked_for_are_exported(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    default, raw = (export_(checkpoints["points"], tmp_path / str(ema), ema=ema) for ema in (None, "model"))
    assert default.manifest.provenance["weights"]["ema"] == "0.05"
    assert raw.manifest.provenance["weights"]["ema"] == "model"
    assert default.manifest.files["jump.fp32.onnx"] != raw.manifest.files["jump.fp32.onnx"]
    with pytest.raises(ValueError, match=r"no EMA '0\.5'"):
        export_(checkpoints["points"], tmp_path / "none", ema="0.5")


def test_an_export_can_be_repeated(
    checkpoints: dict[str, Path], exported_points: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    again = export_(checkpoints["points"], tmp_path / "points")
    assert again.manifest.files == exported_points.manifest.files
    assert again.manifest.provenance["built"]["date"] == "2023-11-14"


def test_what_the_checkpoint_shows_travels_along(exported_image: Bundle, checkpoints: dict[str, Path]) -> None:
    for file in ("README.md", "samples.png"):
        assert exported_image.read(file) == (checkpoints["image"] / file).read_bytes()
    assert exported_image.read("recipe.yaml") == b"run:\n  batch: 2\n  ema:\n  - 0.05\n"
    assert exported_image.manifest.provenance["recipe"] == {"run": {"batch": 2, "ema": [0.05]}}
    assert exported_image.manifest.provenance["data"] == {"name": "toy"}


def test_the_command_says_what_it_measured(
    checkpoints: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "toy"
    assert longjump.main(["export", str(checkpoints["points"]), "--out", str(out), "--name", "two"]) == 0
    printed = capsys.readouterr().out
    error = open_bundle(out).manifest.provenance["parity"]["max_abs_error"]
    assert f"differ by at most {error:.2g}" in printed
    assert longjump.main(["export", str(checkpoints["points"]), "--out", str(out)]) == 2
    assert "exists" in capsys.readouterr().err
    assert longjump.main(["inspect", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == "two"


SECTION = "## Evaluation\n\nfigures\n"


@pytest.mark.parametrize("measured", ["ema-0.05", "model", None])
@pytest.mark.parametrize("ema", [None, "model"])
def test_figures_of_other_weights_travel_along(
    checkpoints: dict[str, Path], tmp_path: Path, measured: str | None, ema: str | None
) -> None:
    """What was measured or searched with the raw weights is told of them only, and so with the averaged ones."""
    folder = tmp_path / "points"
    shutil.copytree(checkpoints["points"], folder)
    told = "{" if measured is None else json.dumps({"model": {"sha256": _sha256(folder / f"{measured}.safetensors")}})
    for file in ("evaluation.json", "grids.json", "neighbours.png"):
        (folder / file).write_text(told)
    (folder / "README.md").write_bytes(b"# A t\xffy\n\n" + SECTION.encode() + b"\n## More\n\nwords\n")
    bundle = export_(folder, tmp_path / "bundle", ema=ema)
    fits = measured == ("ema-0.05" if ema is None else ema)
    wanted = {"evaluation.json", "grids.json", "neighbours.png"} if fits else set()
    assert {"evaluation.json", "grids.json", "neighbours.png"} & set(bundle.manifest.files) == wanted
    if ema is None:
        section = SECTION.encode() + b"\n" if fits else b""
        assert bundle.read("README.md") == b"# A t\xffy\n\n" + section + b"## More\n\nwords\n"
    else:
        assert "README.md" not in bundle.manifest.files


def test_checkpoint_without_averages_is_not_exported(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "points"
    shutil.copytree(checkpoints["points"], folder)
    config = read_config(folder)
    (folder / "config.json").write_text(config.model_copy(update={"emas": ()}).model_dump_json())
    bundle = export_(folder, tmp_path / "bundle")
    assert bundle.manifest.provenance["weights"]["ema"] == "model"
    assert bundle.read("README.md") == (folder / "README.md").read_bytes()


def test_scale_beyond_a_graph_is_not_named(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "guided"
    shutil.copytree(checkpoints["guided"], folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"guidance": {"min": 1, "max": 1e300, "default": 1}}))
    with pytest.raises(ValueError, match=r"^[^\n]*config\.json: guidance: [^\n]*max[^\n]*$"):
        export_(folder, tmp_path / "bundle")


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()

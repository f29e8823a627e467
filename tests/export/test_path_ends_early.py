"""A map that knows times up to t_max < 1 only, and grids with new noise: the bundle has both, and samples the same."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import longjump
from export.check import TOLERANCE, Rows
from export.export import export
from export.runtime.bundle import Bundle
from export.runtime.engines import open_engine
from export.runtime.grids import gamma_grid, renoise_grid
from export.runtime.sampler import sample
from models.checkpoint import load_checkpoint
from models.numpy_jump import numpy_jump

T_MAX = 80 / 81
"""sigma = 80 on the linear path."""

GRIDS = {
    "endpoint": {"1": renoise_grid([1.0]), "2": renoise_grid([1.0, 0.45]), "3": renoise_grid([1.0, 0.6, 0.2])},
    "any": {"1": gamma_grid([1.0], 0.5), "2": gamma_grid([1.0, 0.45], 0.5), "3": gamma_grid([1.0, 0.6, 0.2], 0.25)},
}


@pytest.fixture(scope="module", params=GRIDS)
def early(
    request: pytest.FixtureRequest, checkpoints: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Bundle]:
    """A checkpoint with new noise between its steps, and its bundle."""
    folder = tmp_path_factory.mktemp(request.param) / "checkpoint"
    changes = {"span": request.param, "t_max": T_MAX, "grids": GRIDS[request.param]}
    altered(checkpoints["points"], folder, **changes)
    return folder, export(folder, folder.with_name("bundle"))


def altered(checkpoint: Path, copy: Path, **changes: Any) -> None:
    shutil.copytree(checkpoint, copy)
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, **changes}))


def test_sampler_is_left_behind(early: tuple[Path, Bundle]) -> None:
    """Times, factors and noise of every step are those of the checkpoint, and so are the samples."""
    folder, bundle = early
    flow_map, config = load_checkpoint(folder)
    manifest, engine = bundle.manifest, open_engine(bundle, 1)
    assert (manifest.span, manifest.t_max) == (config.span, T_MAX)
    assert manifest.grids == config.grids
    for steps in (1, 2, 3):
        args = (config.shape, manifest.grid(steps), range(8), [0] * 8)
        ours, theirs = sample(engine.jump, *args), sample(numpy_jump(flow_map), *args)
        assert np.abs(ours - theirs).max() < TOLERANCE
    plain = tuple(step._replace(b=0.0) for step in manifest.grid(2))
    assert np.abs(sample(engine.jump, config.shape, plain, range(8), [0] * 8) - theirs).max() > 1e-2


def test_noise_is_not_clamped(early: tuple[Path, Bundle]) -> None:
    """In the graph a jump from t = 1 is that from t_max, of the noise scaled to there; an earlier one is itself."""
    folder, bundle = early
    flow_map, config = load_checkpoint(folder)
    jump = open_engine(bundle, 1).jump
    z = np.random.default_rng(0).normal(size=(4, *config.shape)).astype(np.float32)

    def rows(z: np.ndarray, t: float) -> Rows:
        times, zeros = np.full(len(z), t, np.float32), np.zeros(len(z), np.float32)
        return Rows(z.astype(np.float32), times, zeros, np.zeros(len(z), np.int64), None)

    from_noise = rows(z, 1.0).through(jump)
    assert np.abs(from_noise - rows(T_MAX * z, T_MAX).through(jump)).max() < TOLERANCE
    flow_map.t_max = 1.0  # control: the same weights, asked where they were not trained
    assert np.abs(from_noise - rows(z, 1.0).through(numpy_jump(flow_map))).max() > 10 * TOLERANCE
    assert np.abs(rows(z, 0.5).through(jump) - rows(z, 0.5).through(numpy_jump(flow_map))).max() < TOLERANCE


def test_new_noise_is_not_told(early: tuple[Path, Bundle], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`inspect` shows it, and `generate` repeats it by the seed."""
    _, bundle = early
    assert longjump.main(["inspect", str(bundle.path)]) == 0
    shown = capsys.readouterr().out
    assert "t up to 0.987654 (and 1)" in shown
    assert "new noise between the steps of 2, 3" in shown
    files = [tmp_path / f"{name}.npy" for name in ("first", "again", "other")]
    for file, seed in zip(files, ("4", "4", "5"), strict=True):
        assert longjump.main(["generate", str(bundle.path), "--steps", "3", "--seed", seed, "-o", str(file)]) == 0
    first, again, other = (file.read_bytes() for file in files)
    assert first == again
    assert first != other

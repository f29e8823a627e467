"""`longjump grids` finds the grid of a field in closed form by its pictures, and what is served afterwards uses it."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from export.export import export
from export.runtime.bundle import open_bundle, write_bundle
from export.runtime.grids import Grid, flow_grid
from export.runtime.sampler import sample
from models.checkpoint import find_weights, load_checkpoint, read_config
from trainer.card import samples_of
from trainer.data.arrays import Split
from trainer.data.dataset import Dataset, open_dataset
from trainer.data.folder import Built, write_dataset
from trainer.evaluate.extractor import Extractor
from trainer.evaluate.generator import Generator
from trainer.evaluate.gridsearch import Family
from trainer.evaluate.store import Store
from trainer.evaluate.trial import Trial
from trainer.sampling import to_images

from .conftest import Small

SHAPE = (3, 16, 16)


def field(std: float) -> Generator:
    """Euler steps of the exact velocity for pictures of white noise N(0, std^2); two are best at std / (1 + std)."""

    def jump(z: NDArray[Any], t: NDArray[Any], s: NDArray[Any], *_: Any) -> NDArray[Any]:
        at, to = t[0], s[0]
        speed = (at - (1 - at) * std**2) / ((1 - at) ** 2 * std**2 + at**2)
        return (z - (at - to) * speed * z).astype(np.float32)

    def draw(grid: Grid, seed: int, labels: Sequence[int]) -> NDArray[np.uint8]:
        return to_images(sample(jump, SHAPE, grid, range(seed, seed + len(labels)), labels))

    grids = {steps: flow_grid(steps) for steps in (1, 2)}
    return Generator("field", {"std": std}, (), SHAPE[1:], grids, "velocity", 1.0, None, None, draw)


def noise(std: float, folder: Path) -> Dataset:
    """Pictures that the field is of."""
    z = np.random.default_rng(5).normal(0, std, (64, *SHAPE)).astype(np.float32)
    write_dataset(folder, Built("noise", "image", [], {"train": Split(to_images(z), None)}, {"licence": "CC0-1.0"}))
    return open_dataset(folder)


def test_best_grid_of_a_field_is_missed(tmp_path: Path, extractor: Extractor) -> None:
    std = 0.12
    store = Store(tmp_path / "cache", shown=False)
    trial = Trial(field(std), noise(std, tmp_path / "noise"), 16, 0, 64, store, extractor)
    line, grid = trial.search(2, Family(0.0), (0.5,))
    assert line["taken"]
    assert grid is not None
    assert math.log(grid[1].t / (1 - grid[1].t)) == pytest.approx(math.log(std), abs=0.3)
    assert line["kid_enetlite0"][1] < 0.6 * line["kid_enetlite0"][0]

    drawn = Trial(field(std), trial.dataset, 16, 0, 64, store, extractor)  # what was cut off goes on: all is kept
    drawn.generator = field(0.0)
    drawn.generator.identity["std"] = std
    assert drawn.search(2, Family(0.0), (0.5,)) == (line, grid)

    best = (round(std / (1 + std), 4),)  # the negative control: nothing is better than the best by more than chance
    line, grid = trial.search(2, Family(0.0), best)
    assert line["searched"][0] == pytest.approx(best[0], abs=0.03)


@pytest.mark.parametrize("before", [1.0, -0.001])  # an unbiased distance may be below 0
@pytest.mark.parametrize(("gain", "taken"), [(0.02, True), (0.005, False), (-0.02, False)])
def test_chance_is_taken(
    tmp_path: Path, extractor: Extractor, monkeypatch: pytest.MonkeyPatch, gain: float, taken: bool, before: float
) -> None:
    """Better times must be worth it on other seeds; what was found is told all the same."""

    def figures(self: Trial, grid: Grid, seed: int) -> list[float]:
        return [abs(grid[1].t - 0.3) if seed == 0 else before - abs(before) * gain * (grid[1].t != 0.5), 1.0]

    monkeypatch.setattr(Trial, "figures", figures)
    store = Store(tmp_path / "cache", shown=False)
    trial = Trial(field(0.12), noise(0.12, tmp_path / "noise"), 16, 0, 64, store, extractor)
    line, grid = trial.search(2, Family(0.0), (0.5,))
    assert line["searched"][0] == pytest.approx(0.3, abs=0.03)
    assert (line["taken"], grid is not None) == (taken, taken)


@pytest.fixture
def grids(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[..., tuple[int, str]]:
    """`grids(MODEL, "--data", PATH, ...)`: the command's exit code and all it said."""
    from longjump import main

    def run(*words: Any) -> tuple[int, str]:
        code = main(["grids", "--cache", str(tmp_path / "cache"), "--device", "cpu", *map(str, words)])
        said = capsys.readouterr()
        return code, said.out + said.err

    return run


@pytest.fixture
def bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Grids are judged by their own times, so that a tiny model of noise has a better one."""

    def figures(self: Trial, grid: Grid, seed: int) -> list[float]:
        return [abs(grid[1].t - 0.3), 1.0]

    monkeypatch.setattr(Trial, "figures", figures)


@pytest.mark.usefixtures("bound")
def test_checkpoint_exports_the_old_grid(grids: Callable[..., tuple[int, str]], small: Small, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(small.checkpoint, run)
    before = read_config(run)
    code, said = grids(run, "--data", small.data, "--steps", 2, "--samples", 16)
    assert code == 0, said
    after = read_config(run)
    assert before.grids["2"][1][0] == 0.5
    assert after.grids["2"][1][0] == pytest.approx(0.3, abs=0.03)
    assert after.grids["1"] == before.grids["1"]
    assert after.model_copy(update={"grids": before.grids}) == before
    flow_map, _ = load_checkpoint(run)
    assert (run / "samples.png").read_bytes() == samples_of(after, flow_map) != samples_of(before, flow_map)
    bundle = export(run, tmp_path / "bundle", licence="CC0-1.0")
    assert bundle.manifest.grid(2)[1].t == after.grids["2"][1][0]
    found = json.loads((run / "grids.json").read_text())
    assert found["steps"]["2"]["taken"]
    assert json.loads(bundle.read("grids.json")) == found


def test_grid_lands_in_a_checkpoint_that_was_saved_meanwhile(
    grids: Callable[..., tuple[int, str]], small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, later = (tmp_path / "run" / f"step-0000000{step}" for step in (2, 4))
    shutil.copytree(small.checkpoint, first)

    def figures(self: Trial, grid: Grid, seed: int) -> list[float]:
        shutil.copytree(small.checkpoint, later, dirs_exist_ok=True)
        return [abs(grid[1].t - 0.3), 1.0]

    monkeypatch.setattr(Trial, "figures", figures)
    code, said = grids(tmp_path / "run", "--data", small.data, "--steps", 2, "--samples", 16)
    assert code == 0, said
    assert read_config(first).grids["2"][1][0] == pytest.approx(0.3, abs=0.03)
    assert read_config(later) == read_config(small.checkpoint)


@pytest.mark.usefixtures("bound")
def test_bundle_keeps_the_old_grid(grids: Callable[..., tuple[int, str]], small: Small, tmp_path: Path) -> None:
    words = [small.bundle, "--data", small.data, "--samples", 16, "--threads", 1]
    code, said = grids(*words, "--write", tmp_path / "better")
    assert code == 0, said
    before, after = open_bundle(small.bundle).manifest, open_bundle(tmp_path / "better").manifest
    assert before.grid(2)[1].t == 0.5
    assert after.grid(2)[1].t == pytest.approx(0.3, abs=0.03)
    assert "grids.json" in after.files
    fields = after.model_dump(exclude={"files", "digest"}) | {"quality": {"steps": {}}}
    write_bundle(tmp_path / "graded", fields, {file: tmp_path / "better" / file for file in after.files})
    code, said = grids(tmp_path / "graded", *words[1:], "--write", tmp_path / "again")
    assert code == 2
    assert "tells figures of its grids" in said
    assert not (tmp_path / "again").exists()


@pytest.mark.usefixtures("bound")
def test_figures_of_the_old_grid_stay(grids: Callable[..., tuple[int, str]], small: Small, tmp_path: Path) -> None:
    """In a checkpoint, and in a bundle that was exported of a measured one."""
    run = tmp_path / "run"
    shutil.copytree(small.checkpoint, run)
    _, weights = find_weights(run, read_config(run))
    (run / "evaluation.json").write_text(json.dumps({"model": {"sha256": sha256(weights.read_bytes()).hexdigest()}}))
    (run / "neighbours.png").write_bytes(b"panel")
    (run / "README.md").write_text("# Trees\n\n## Evaluation\n\nfigures\n")
    bundle = export(run, tmp_path / "bundle", licence="CC0-1.0")
    figures = {"evaluation.json", "neighbours.png"}
    assert figures < set(bundle.manifest.files)
    words = ["--data", small.data, "--steps", 2, "--samples", 16]
    code, said = grids(bundle.path, *words, "--threads", 1, "--write", tmp_path / "better")
    assert code == 0, said
    assert f"are taken out; measure again: longjump eval {tmp_path / 'better'}" in said
    better = open_bundle(tmp_path / "better")
    assert not figures & set(better.manifest.files)
    assert better.read("README.md") == b"# Trees\n"
    code, said = grids(run, *words)
    assert code == 0, said
    assert f"are taken out; measure again: longjump eval {run}" in said
    assert not any((run / file).exists() for file in figures)
    assert (run / "README.md").read_text() == "# Trees\n"


def test_real_search_of_a_tiny_model(grids: Callable[..., tuple[int, str]], small: Small, tmp_path: Path) -> None:
    """Whatever it finds, it says so, and the same search says the same."""
    words = [small.bundle, "--data", small.data, "--samples", 16, "--threads", 1, "--force"]
    words += ["--write", tmp_path / "new"]
    first, second = grids(*words), grids(*words)
    assert first[0] == second[0] == 0
    assert "2 steps: 0.5" in first[1]
    assert first[1].splitlines()[:2] == second[1].splitlines()[:2]
    assert ("nothing is written" in first[1]) is not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ([], "--write BUNDLE"),
        (["--steps", "3", "--write", "new"], "3 steps: "),
        (["--steps", "1", "--write", "new"], "1 steps: one step leads from noise to data"),
        (["--samples", "3", "--write", "new"], "--samples must be at least 16, not 3"),
        (["--samples", "1000000000000", "--write", "new"], "--samples must be at most 1000000, not 1000000000000"),
        (["--seed", "-1", "--write", "new"], "seed"),
        (["--ema", "0.1", "--write", "new"], "is a bundle, its weights are chosen"),
    ],
)
def test_misfit_starts_the_search(
    grids: Callable[..., tuple[int, str]], small: Small, words: list[str], wanted: str
) -> None:
    code, said = grids(small.bundle, "--data", small.data, *words)
    assert code == 2
    assert wanted in said
    assert said.count("\n") == 1
    assert not Path("new").exists()

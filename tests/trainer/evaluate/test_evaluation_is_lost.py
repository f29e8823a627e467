"""A killed evaluation goes on, and what does not fit is refused before the work, in one line."""

from __future__ import annotations

import dataclasses
import json
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from export.runtime.images import encode_npy
from trainer.evaluate.model import read_steps
from trainer.evaluate.store import CHUNK, Store

from .conftest import Small


def rows(start: int, stop: int) -> NDArray[np.int64]:
    return np.arange(start, stop)[:, None] * [1, 10]


def test_killed_evaluation_begins_anew(tmp_path: Path) -> None:
    made: list[tuple[int, int]] = []

    def make(start: int, stop: int) -> NDArray[np.int64]:
        if start == 2 * CHUNK and not made[2:]:
            made.append((-1, -1))
            raise KeyboardInterrupt
        made.append((start, stop))
        return rows(start, stop)

    with pytest.raises(KeyboardInterrupt):
        Store(tmp_path, shown=False).rows({"what": "it"}, 3 * CHUNK, make, "it")
    found = Store(tmp_path, shown=False).rows({"what": "it"}, 3 * CHUNK, make, "it")
    assert made == [(0, CHUNK), (CHUNK, 2 * CHUNK), (-1, -1), (2 * CHUNK, 3 * CHUNK)]
    assert (found == rows(0, 3 * CHUNK)).all()
    assert not list(tmp_path.rglob("*.tmp"))


def test_more_or_fewer_samples_begin_anew(tmp_path: Path) -> None:
    made: list[int] = []

    def make(start: int, stop: int) -> NDArray[np.int64]:
        made.append(stop - start)
        return rows(start, stop)

    store = Store(tmp_path, shown=False)
    for count, wanted in [(CHUNK + 5, [CHUNK, 5]), (2 * CHUNK, [CHUNK]), (CHUNK, []), (CHUNK + 5, [])]:
        assert (store.rows({"what": "it"}, count, make, "it") == rows(0, count)).all()
        assert made == wanted
        made.clear()
    store.rows({"what": "another"}, CHUNK, make, "another")
    assert made == [CHUNK]


@pytest.mark.parametrize(
    "damage",
    [
        lambda before: b"",
        lambda before: b"no array",
        lambda before: before[: len(before) // 2],
        lambda before: before[:-1],
        lambda before: before.replace(np.float32(7).tobytes(), np.float32(8).tobytes()),
        lambda before: encode_npy(np.zeros((12, 2), np.float32)),
        lambda before: encode_npy(np.zeros((16, 2))),
        lambda before: encode_npy(np.full((16, 2), np.nan, np.float32)),
    ],
    ids=["empty", "garbage", "half", "cut", "changed", "fewer", "type", "nan"],
)
def test_damaged_cache_is_measured(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    made: list[int] = []

    def make(start: int = 0, stop: int = 16) -> NDArray[np.float32]:
        made.append(start)
        return rows(start, stop).astype(np.float32)

    store, right = Store(tmp_path, shown=False), rows(0, 16)
    for get in (lambda: store.rows({"what": "rows"}, 16, make, "it"), lambda: store.array({"what": "all"}, make)):
        get()
        assert (get() == right).all()
        assert made == [0], "control: what is whole is read again"
        for file in tmp_path.rglob("*.npy"):
            file.write_bytes(damage(file.read_bytes()))
        found = get()
        assert found.dtype == np.float32
        assert (found == right).all()
        assert (get() == right).all()
        assert made == [0, 0]
        made.clear()


def test_cache_of_another_is_measured(tmp_path: Path) -> None:
    store = Store(tmp_path, shown=False)
    for value in (1, 2):
        store.array({"what": value}, lambda value=value: np.array([value]))
    one, two = tmp_path.rglob("*.npy")
    one.write_bytes(two.read_bytes())
    for value in (1, 2):
        assert store.array({"what": value}, lambda value=value: np.array([value])) == value


def test_second_evaluation_draws_again(
    evaluate: Callable[..., tuple[int, str]], small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trainer.evaluate import generator

    drawn: list[int] = []
    opened = generator.from_bundle

    def watched(*args: Any) -> generator.Generator:
        found = opened(*args)

        def draw(grid: Any, seed: int, labels: Any) -> Any:
            drawn.append(len(labels))
            return found.draw(grid, seed, labels)

        return dataclasses.replace(found, draw=draw)

    monkeypatch.setattr(generator, "from_bundle", watched)
    words = [small.bundle, "--data", small.data, "--steps", 1, "--samples", 16]
    assert evaluate(*words)[0] == evaluate(*words)[0] == 0
    assert drawn == [16]
    assert evaluate(*words, "--seed", 3)[0] == 0
    assert drawn == [16, 16]


def test_another_network_gets_the_old_samples(
    evaluate: Callable[..., tuple[int, str]], small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same weights are another model where config.json says how else they are to be read."""
    from trainer.evaluate import generator

    folder, cpu = tmp_path / "model", torch.device("cpu")
    shutil.copytree(small.checkpoint, folder)
    before = json.loads((folder / "config.json").read_text())
    known = generator.from_checkpoint(folder, None, None, cpu).identity

    def changed(**fields: Any) -> dict[str, Any]:
        (folder / "config.json").write_text(json.dumps({**before, **fields}))
        return generator.from_checkpoint(folder, None, None, cpu).identity

    assert changed(data={"name": "elsewhere"}, grids={"1": [[1, 0, 1, 0]]}) == known, "control: as the weights are"
    assert changed(t_max=0.9) != known
    assert changed(labels=["birch", "ash"]) != known
    monkeypatch.setattr(generator, "version", lambda name: "99")
    assert changed() != known
    monkeypatch.undo()
    figures = []
    for parametrisation in ("raw", "edm"):
        changed(architecture={**before["architecture"], "parametrisation": parametrisation})
        code, said = evaluate(folder, "--data", small.data, "--steps", 1, "--samples", 16)
        assert code == 0, said
        figures.append(json.loads((folder / "evaluation.json").read_text())["steps"])
    assert figures[0] != figures[1]


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["--steps", "3"], "has grids for 1, 2 steps"),
        (["--steps", "1,two"], "step counts are numbers"),
        (["--samples", "3"], "--samples must be at least 16, not 3"),
        (["--fid"], "--fid is the distance of Inception's features and of no others: give --inception-weights"),
        (["--inception-weights", "x.pth"], "--inception-weights are for --fid"),
        (["--fid", "--inception-weights", "x.pth"], "x.pth: No such file"),
        (["--guidance", "2"], "no guidance"),
        (["--seed", "-1"], "seed"),
        (["--samples", "1000000000000"], "--samples must be at most 1000000, not 1000000000000"),
        (["--device", "toaster"], "--device toaster: "),
        (["--device", "meta"], "--device meta: "),
        (["--ema", "0.1"], "is a bundle, its weights are chosen"),
        (["--out", "nowhere/x.json"], "nowhere is not a folder, so x.json cannot be written into it"),
        (["--out", "/dev/null"], "/dev/null is no ordinary file"),
        (["--out", "x.json", "--panel", "./x.json"], "x.json; give each a file of its own"),
    ],
)
def test_misfit_starts_the_work(
    evaluate: Callable[..., tuple[int, str]], small: Small, words: list[str], wanted: str
) -> None:
    code, said = evaluate(small.bundle, "--data", small.data, *words)
    assert code == 2
    assert wanted in said
    assert said.count("\n") == 1


def test_wrong_data_is_measured_against(
    evaluate: Callable[..., tuple[int, str]], small: Small, grey: Path, points: Path, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "large.npz", images=rng.integers(0, 256, (40, 9, 8, 1), dtype=np.uint8))
    for data, wanted in [(grey, "no test split"), (points, "holds x"), (tmp_path / "large.npz", "no test split")]:
        code, said = evaluate(small.bundle, "--data", data)
        assert code == 2
        assert wanted in said
    code, said = evaluate(small.checkpoint, "--data", small.data, "--write", tmp_path / "new")
    assert code == 2
    assert "--write is for a bundle" in said


def test_card_that_cannot_be_written_is_found_after_the_work(
    evaluate: Callable[..., tuple[int, str]], small: Small, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(small.checkpoint, folder, ignore=shutil.ignore_patterns("README.md", "neighbours.png"))
    words = [folder, "--data", small.data, "--steps", 1, "--samples", 16]
    for name, wanted in [("README.md", "is a folder"), ("neighbours.png", "is a folder"), ("README.md", "not UTF-8")]:
        there = folder / name
        if wanted == "is a folder":
            there.mkdir()
        else:
            there.write_bytes("# caf\u00e9\n".encode("latin-1"))
        before = sorted(folder.iterdir())
        code, said = evaluate(*words)
        assert code == 2
        assert said.startswith(f"longjump eval: error: {there}")
        assert wanted in said
        assert said.count("\n") == 1
        assert sorted(folder.iterdir()) == before
        if there.is_dir():
            there.rmdir()


def test_full_disk_leaves_half_of_the_results(
    evaluate: Callable[..., tuple[int, str]], small: Small, tmp_path: Path
) -> None:
    """A file may be of so many bytes only; the disk plays full at the second of three."""
    folder = tmp_path / "model"
    shutil.copytree(small.checkpoint, folder)
    words = [folder, "--data", small.data, "--samples", 16]
    for steps in (2, 1):
        assert evaluate(*words, "--steps", steps)[0] == 0
    before = {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    assert len(before["evaluation.json"]) < len(before["neighbours.png"]) - 2000
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before["neighbours.png"]) - 1000, hard))
    try:
        code, said = evaluate(*words, "--steps", 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert code == 2
    assert said.endswith(f"longjump eval: error: {folder / 'neighbours.png'}: File too large\n")
    assert {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()} == before
    assert evaluate(*words, "--steps", 2)[0] == 0
    assert (folder / "evaluation.json").read_bytes() != before["evaluation.json"]


def test_steps_are_misread() -> None:
    assert read_steps(None, [1, 2, 3, 4, 8, 16], [1, 2, 4, 8]) == (1, 2, 4, 8)
    assert read_steps(None, [5], [1, 2]) == (5,)
    assert read_steps("4, 1,4", [1, 4], [1, 2]) == (1, 4)


@pytest.mark.parametrize(
    ("grids", "wanted"),
    [
        ({}, "config.json: has no grids"),
        ({"1": [[0.5, 0, 1, 0]]}, "config.json: the grid for 1 steps: step 1 of 1"),
        ({"1": [[1, 0.5, 1, 0]]}, "config.json: the grid for 1 steps: the grid ends at t=0.5"),
    ],
    ids=["none", "begins in between", "ends in between"],
)
def test_grid_leads_astray(
    evaluate: Callable[..., tuple[int, str]], small: Small, tmp_path: Path, grids: dict[str, Any], wanted: str
) -> None:
    folder = tmp_path / "astray"
    shutil.copytree(small.checkpoint, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"grids": grids}))
    code, said = evaluate(folder, "--data", small.data)
    assert code == 2
    assert wanted in said
    assert said.count("\n") == 1

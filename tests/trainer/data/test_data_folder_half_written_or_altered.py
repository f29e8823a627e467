"""A data set folder appears whole or not at all, is never overwritten, and is refused when it was altered."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainer.data.arrays import Split
from trainer.data.dataset import open_dataset
from trainer.data.folder import Built, write_dataset

X = np.array([[0.0], [1.0], [2.0], [3.0]], np.float32)
TRAIN, TEST = Split(X, np.array([0, 1, 0, 1])), Split(X[:1] + 9, np.array([1]))
BUILT = Built("toy", "points", ["even", "odd"], {"train": TRAIN, "test": TEST}, {"licence": "CC0-1.0"})


def test_what_is_written_is_what_opens(tmp_path: Path) -> None:
    info = write_dataset(tmp_path / "deep" / "toy", BUILT)
    found = open_dataset(tmp_path / "deep" / "toy")
    assert (found.name, found.kind, found.classes, found.shape) == ("toy", "points", ["even", "odd"], (1,))
    assert found.info == info
    assert info["counts"] == {"train": 4, "test": 1}
    assert found.sha256 == info["sha256"]["dataset"]
    assert found.test is not None
    np.testing.assert_array_equal(found.train.x, X)
    np.testing.assert_array_equal(found.test.x, TEST.x)
    assert {file.name for file in found_files(tmp_path)} == {"train.npz", "test.npz", "data.json"}


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, OSError("no space left on device")])
def test_an_interrupted_write_leaves_nothing(
    interruption: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved: list[Path] = []
    save = np.savez_compressed

    def interrupted(path: Path, **arrays: Any) -> None:
        if saved:
            raise interruption
        save(path, **arrays)
        saved.append(path)

    monkeypatch.setattr(np, "savez_compressed", interrupted)
    with pytest.raises((KeyboardInterrupt, OSError)):
        write_dataset(tmp_path / "toy", BUILT)
    assert saved, "the interruption must come after a file was written"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["folder", "file", "dangling link"])
def test_nothing_is_overwritten(kind: str, tmp_path: Path) -> None:
    out = tmp_path / "toy"
    if kind == "folder":
        out.mkdir()
    elif kind == "file":
        out.write_text("mine")
    else:
        out.symlink_to(tmp_path / "nowhere")
    with pytest.raises(FileExistsError, match=r"toy exists already; choose another --out or remove it"):
        write_dataset(out, BUILT)
    assert [path.name for path in tmp_path.iterdir()] == ["toy"]


def test_a_file_in_the_way_is_named_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match=r"file is a file, so .*toy cannot be made"):
        write_dataset(tmp_path / "file" / "toy", BUILT)


Alter = Callable[[dict[str, Any]], Any]

ALTERATIONS: dict[str, tuple[Alter, str]] = {
    "newer format": (lambda info: info.update(format=2), "has format 2; this longjump reads up to 1"),
    "no kind": (lambda info: info.pop("kind"), "data.json: kind: Field required"),
    "wrong kind": (lambda info: info.update(kind="image"), "holds points data, but data.json says image"),
    "class too many": (
        lambda info: info["classes"].append("third"),
        "1 of 3 classes have no sample: 2 (third)",
    ),
    "class too few": (lambda info: info["classes"].pop(), "labels[1] is 1; there are 1 classes"),
    "no class": (lambda info: info["classes"].clear(), "has labels, but no classes are named"),
    "name twice": (lambda info: info.update(classes=["odd", "odd"]), "class name 'odd' is used twice"),
    "unprintable name": (lambda info: info.update(classes=["even", "o\x07d"]), "a name of printable text"),
    "reserved name": (lambda info: info.update(classes=["none", "odd"]), "asks for no class at all"),
    "name like an index": (lambda info: info.update(classes=["1", "0"]), "reads as another index"),
    "other count": (lambda info: info["counts"].update(train=5), "counts of the arrays is"),
    "no train": (lambda info: info["counts"].pop("train"), "there is train, and optionally test"),
    "outside": (lambda info: info["counts"].update({"../x": 1}), "there is train, and optionally test"),
}


@pytest.mark.parametrize("alteration", ALTERATIONS)
def test_an_altered_data_json_is_refused(alteration: str, tmp_path: Path) -> None:
    alter, message = ALTERATIONS[alteration]
    write_dataset(tmp_path / "toy", BUILT)
    file = tmp_path / "toy" / "data.json"
    info = json.loads(file.read_text())
    alter(info)
    file.write_text(json.dumps(info))
    with pytest.raises(ValueError, match=re.escape(message)) as raised:
        open_dataset(tmp_path / "toy")
    assert str(tmp_path / "toy") in str(raised.value)


@pytest.mark.parametrize("content", ["{", "[]", '{"format": "1"}'])
def test_a_data_json_that_is_none_is_refused(content: str, tmp_path: Path) -> None:
    write_dataset(tmp_path / "toy", BUILT)
    (tmp_path / "toy" / "data.json").write_text(content)
    with pytest.raises(ValueError, match=r"data\.json"):
        open_dataset(tmp_path / "toy")


def test_exchanged_arrays_are_refused(tmp_path: Path) -> None:
    write_dataset(tmp_path / "toy", BUILT)
    np.savez_compressed(tmp_path / "toy" / "train.npz", x=X + 1, labels=[0, 1, 0, 1])
    with pytest.raises(ValueError, match=r"sha256 of the arrays is .*altered after it was built"):
        open_dataset(tmp_path / "toy")


@pytest.mark.parametrize("missing", ["train.npz", "test.npz", "data.json"])
def test_a_missing_file_of_a_folder_is_named(missing: str, tmp_path: Path) -> None:
    write_dataset(tmp_path / "toy", BUILT)
    (tmp_path / "toy" / missing).unlink()
    with pytest.raises(FileNotFoundError, match=missing.replace(".", r"\.")):
        open_dataset(tmp_path / "toy")


def found_files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]

"""A data set folder appears whole or not at all, is never overwritten, and is refused when it was altered."""

from __future__ import annotations

import errno
import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainer.data import folder
from trainer.data.arrays import Split
from trainer.data.dataset import open_dataset
from trainer.data.folder import Built, write_dataset
from trainer.data.npy import ArrayFile, array_sha256, map_array

X = np.array([[0.0], [1.0], [2.0], [3.0]], np.float32)
TRAIN, TEST = Split(X, np.array([0, 1, 0, 1])), Split(X[:1] + 9, np.array([1]))
BUILT = Built("toy", "points", ["even", "odd"], {"train": TRAIN, "test": TEST}, {"licence": "CC0-1.0"})
FILES = ["train.x.npy", "train.labels.npy", "test.x.npy", "test.labels.npy"]


def test_what_is_written_is_what_opens(tmp_path: Path) -> None:
    info = write_dataset(tmp_path / "deep" / "toy", BUILT)
    found = open_dataset(tmp_path / "deep" / "toy")
    assert (found.name, found.kind, found.classes, found.shape) == ("toy", "points", ["even", "odd"], (1,))
    assert found.info == {key: value for key, value in info.items() if key != "sampled_sha256"}
    assert info["counts"] == {"train": 4, "test": 1}
    assert found.sha256 == info["sha256"]["dataset"]
    assert found.test is not None
    np.testing.assert_array_equal(found.train.x, X)
    np.testing.assert_array_equal(found.test.x, TEST.x)
    assert {file.name for file in found_files(tmp_path)} == {*FILES, "data.json"}


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, OSError(errno.ENOSPC, "No space left on device")])
def test_an_interrupted_write_leaves_nothing(
    interruption: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved: list[Path] = []
    write = folder.write_array

    def interrupted(path: Path, array: np.ndarray) -> None:
        if saved:
            raise interruption
        write(path, array)
        saved.append(path)

    monkeypatch.setattr(folder, "write_array", interrupted)
    with pytest.raises((KeyboardInterrupt, OSError)) as raised:
        write_dataset(tmp_path / "deep" / "toy", BUILT)
    assert saved, "the interruption must come after a file was written"
    assert list(tmp_path.iterdir()) == []
    if raised.type is OSError:
        assert f"{tmp_path}/deep/toy could not be written: No space left on device" in str(raised.value)


def test_a_really_full_disk_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    """A limit on the size of files stands for the disk: it fails in the middle of an array, not between two."""
    code = (
        "import resource, signal, sys; import numpy as np\n"
        "from pathlib import Path; from trainer.data.arrays import Split; from trainer.data import folder\n"
        "import errno; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "built = folder.Built('big', 'points', [], {'train': Split(np.zeros((100_000, 1), np.float32), None)}, {})\n"
        "try:\n    folder.write_dataset(Path(sys.argv[1]) / 'big', built)\n"
        "except OSError as error:\n    print(error)\n"
    )
    ran = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert "big could not be written: File too large; nothing half-written is left" in ran.stdout
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
    "newer format": (lambda info: info.update(format=3), "has format 3, but this longjump reads 2; update it"),
    "older format": (lambda info: info.update(format=1), "this longjump reads 2; build the data set again"),
    "no array": (lambda info: info.update(sha256={}), "sha256 names no array of train"),
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


@pytest.mark.parametrize("content", ["{", "[]", pytest.param("[" * 100_000, id="endless"), '{"format": "1"}'])
def test_a_data_json_that_is_none_is_refused(content: str, tmp_path: Path) -> None:
    write_dataset(tmp_path / "toy", BUILT)
    (tmp_path / "toy" / "data.json").write_text(content)
    with pytest.raises(ValueError, match=r"data\.json"):
        open_dataset(tmp_path / "toy")


def test_exchanged_arrays_are_refused(tmp_path: Path) -> None:
    write_dataset(tmp_path / "toy", BUILT)
    np.save(tmp_path / "toy" / "train.x.npy", X + 1)
    with pytest.raises(ValueError, match=r"toy: the SHA-256 of train\.x is not .*altered after it was built"):
        open_dataset(tmp_path / "toy")


@pytest.mark.parametrize("missing", [*FILES, "data.json"])
def test_a_missing_file_of_a_folder_is_named(missing: str, tmp_path: Path) -> None:
    write_dataset(tmp_path / "toy", BUILT)
    (tmp_path / "toy" / missing).unlink()
    with pytest.raises(FileNotFoundError, match=missing.replace(".", r"\.")):
        open_dataset(tmp_path / "toy")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "train.x.npy is damaged"),
        (b"\x93NUMPY", "train.x.npy is damaged"),
        (None, "train.x.npy is damaged"),
        (X.astype(np.float64), "points are stored as float32 [N, D]"),
        (np.array([[{}]] * 4, dtype=object), "train.x.npy is damaged, or not a .npy file of plain numbers"),
    ],
)
def test_a_file_that_is_no_array_is_named(content: Any, message: str, tmp_path: Path) -> None:
    write_dataset(tmp_path / "toy", BUILT)
    file = tmp_path / "toy" / "train.x.npy"
    if isinstance(content, np.ndarray):
        np.save(file, content, allow_pickle=True)
    else:
        file.write_bytes(file.read_bytes()[:-4] if content is None else content)
    with pytest.raises(ValueError, match=re.escape(message)):
        open_dataset(tmp_path / "toy")


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of 5,000 points that counts as large; of them 1,024 are sampled."""
    monkeypatch.setattr("trainer.data.dataset.HASHED_WHOLE", 1000)
    x = np.arange(5000, dtype=np.float32)[:, None]
    write_dataset(tmp_path / "large", Built("large", "points", [], {"train": Split(x, None)}, {}))
    return tmp_path / "large"


def test_a_large_array_is_read_whole_only_on_request(
    large: Path, monkeypatch: pytest.MonkeyPatch, data_command: Callable[[str], int]
) -> None:
    """One altered row in thousands passes the sample, as documented; `verify` sees it."""
    assert data_command(f"verify {large}") == 0
    x = np.load(large / "train.x.npy")
    x[1] = -1
    np.save(large / "train.x.npy", x)
    assert open_dataset(large).info["counts"] == {"train": 5000}
    with pytest.raises(ValueError, match="altered after it was built"):
        data_command(f"verify {large}")
    monkeypatch.setattr("trainer.data.dataset.HASHED_WHOLE", 10**6)
    with pytest.raises(ValueError, match="altered after it was built"):
        open_dataset(large)


def test_another_large_array_is_noticed(large: Path) -> None:
    np.save(large / "train.x.npy", np.load(large / "train.x.npy")[::-1])
    with pytest.raises(ValueError, match="altered after it was built"):
        open_dataset(large)


def test_rows_are_written_as_they_come(tmp_path: Path) -> None:
    """Row by row or at once, the file has the same bytes; and the hash is that of the bytes, in pieces or whole."""
    x = np.arange(7 * 2 * 3, dtype=np.float16).reshape(7, 2, 3)
    with ArrayFile(tmp_path / "rows.npy", (2, 3), x.dtype) as file:
        for row in (x[:1], x[1:5], x[5:]):
            file.append(row)
    np.save(tmp_path / "whole.npy", x)
    assert (tmp_path / "rows.npy").read_bytes() == (tmp_path / "whole.npy").read_bytes()
    found = map_array(tmp_path / "rows.npy")
    np.testing.assert_array_equal(found, x)
    assert array_sha256(found) == hashlib.sha256(b"<f2[7, 2, 3]" + x.tobytes()).hexdigest()
    assert array_sha256(x.transpose(0, 2, 1)) == array_sha256(x.transpose(0, 2, 1).copy()) != array_sha256(x)


def found_files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]

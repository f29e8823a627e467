"""Opening a data set: the folder that `longjump data build` writes, or a bare npz file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from trainer.data.arrays import (
    KINDS,
    Kind,
    Split,
    check_classes,
    check_label_array,
    check_labels,
    check_stored,
    numbered_classes,
    read_split,
)
from trainer.data.folder import FORMAT, combined_sha256, describe, named_arrays
from trainer.data.npy import array_sha256, map_array, sampled_sha256

OF_THE_FOLDER = ("sampled_sha256", "corrupt_pictures")
"""Keys of data.json that stay with the folder: a checkpoint and its card have no use for them."""

HASHED_WHOLE = 2**30
"""Bytes up to which an array's hash is computed again whenever the data set is opened; a second or two."""


@dataclass(frozen=True)
class Dataset:
    """A checked data set; the arrays of a folder are mapped into memory, not read.

    `classes` are the label names, [] when unlabelled; every class has a training sample. `test` is None when
    the data set has none. `info` is data.json without `OF_THE_FOLDER`, or its like made up for a bare npz (JSON
    values only, without the path on this machine). `sha256` identifies all arrays together.
    """

    name: str
    kind: Kind
    classes: list[str]
    train: Split
    test: Split | None
    info: dict[str, Any]
    sha256: str

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample as stored: (H, W, C), latents (C, H, W), points (D,)."""
        return self.train.x.shape[1:]


class DataJson(BaseModel):
    """What every data.json must say; sources add more (licence, credits, generator)."""

    model_config = ConfigDict(extra="allow", strict=True)

    format: int
    name: str
    kind: Kind
    classes: list[str]
    shape: list[int]
    counts: dict[str, int]
    sha256: dict[str, str]
    sampled_sha256: dict[str, str]


def open_dataset(path: str | Path, verify: bool = False) -> Dataset:
    """Open and check `path`: a data set folder, or an npz file with images or x and optional labels.

    An array of a folder is read only where its hash is computed again: whole up to 1 GiB (`HASHED_WHOLE`) or where
    `verify` asks for it, above that for 1,024 rows spread over it. Labels are always read whole.

    Raises FileNotFoundError or ValueError with one line that names the file: missing or damaged files, wrong
    arrays, types or shapes, points that are not finite, labels out of range, a class without a sample, arrays
    that are not those data.json speaks of.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; give a data set folder or an npz file")
    return _open_folder(path, verify) if path.is_dir() else _open_npz(path)


ALTERED = "the folder was altered after it was built, build it again"


def _open_folder(path: Path, verify: bool) -> Dataset:
    info, stated = _read_data_json(path / "data.json")
    check_classes(stated.classes, path / "data.json")
    splits = {split: _map_split(path, split, stated) for split in stated.counts}
    found: dict[str, Any] = {
        "shape": list(splits["train"].x.shape[1:]),
        "counts": {split: len(content.x) for split, content in splits.items()},
        "sha256": _hashes(named_arrays(splits), stated, verify),
    }
    found["sha256"]["dataset"] = combined_sha256(found["sha256"])
    for key in ("shape", "counts"):
        if found[key] != info[key]:
            raise ValueError(f"{path}: {key} of the arrays is {found[key]}, but data.json says {info[key]}; {ALTERED}")
    if found["sha256"] != info["sha256"]:
        names = sorted({name for name, _ in found["sha256"].items() ^ info["sha256"].items()})
        arrays = [name for name in names if name != "dataset"] or names  # any of them alters that of the data set
        raise ValueError(f"{path}: the SHA-256 of {', '.join(arrays)} is not what data.json says; {ALTERED}")
    return _dataset(stated.name, stated.kind, stated.classes, splits, info)


def _map_split(path: Path, split: str, stated: DataJson) -> Split:
    key = next((key for key in KINDS if f"{split}.{key}" in stated.sha256), None)
    if key is None:
        raise ValueError(f"{path / 'data.json'}: sha256 names no array of {split}; build the data set again")
    file = path / f"{split}.{key}.npy"
    x = map_array(file)
    if KINDS[key] != stated.kind:
        raise ValueError(f"{file} holds {KINDS[key]} data, but data.json says {stated.kind}")
    check_stored(key, x, file)
    labels = None
    if f"{split}.labels" in stated.sha256:
        file = path / f"{split}.labels.npy"
        labels = check_label_array(map_array(file), len(x), file)
    content = Split(x, labels)
    check_labels(content, stated.classes, file, every_class=split == "train")
    return content


def _hashes(arrays: dict[str, Any], stated: DataJson, verify: bool) -> dict[str, str]:
    """SHA-256 of each array; what data.json says where that of the sampled rows of a large one is right."""
    hashes = {}
    for name, array in arrays.items():
        if not verify and array.nbytes > HASHED_WHOLE and sampled_sha256(array) == stated.sampled_sha256.get(name):
            hashes[name] = stated.sha256[name]
        else:
            hashes[name] = array_sha256(array)
    return hashes


def _open_npz(path: Path) -> Dataset:
    kind, content = read_split(path)
    classes = numbered_classes(content.labels, path)
    check_labels(content, classes, path)
    splits = {"train": content}
    info = describe(path.stem, kind, classes, splits) | {"licence": "unknown"}
    return _dataset(path.stem, kind, classes, splits, info)


def _dataset(name: str, kind: Kind, classes: list[str], splits: dict[str, Split], info: dict[str, Any]) -> Dataset:
    kept = {key: value for key, value in info.items() if key not in OF_THE_FOLDER}
    return Dataset(name, kind, classes, splits["train"], splits.get("test"), kept, info["sha256"]["dataset"])


def _read_data_json(file: Path) -> tuple[dict[str, Any], DataJson]:
    if not file.is_file():
        raise FileNotFoundError(f"{file} does not exist; is {file.parent} a folder of `longjump data build`?")
    try:
        info = json.loads(file.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} is not JSON: {error}") from error
    if not isinstance(info, dict):
        raise ValueError(f"{file} must be a JSON object")
    if isinstance(info.get("format"), int) and info["format"] != FORMAT:
        raise ValueError(
            f"{file} has format {info['format']}, but this longjump reads {FORMAT}; "
            + ("update it" if info["format"] > FORMAT else "build the data set again")
        )
    try:
        stated = DataJson.model_validate(info)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise ValueError(f"{file}: {field}: {first['msg']}; build the data set again") from error
    if not {"train"} <= set(stated.counts) <= {"train", "test"}:
        raise ValueError(f"{file}: counts names {sorted(stated.counts)}; there is train, and optionally test")
    return info, stated

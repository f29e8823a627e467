"""Opening a data set: the folder that `longjump data build` writes, or a bare npz file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from trainer.data.arrays import Kind, Split, check_classes, check_labels, numbered_classes, read_split
from trainer.data.folder import FORMAT, describe


@dataclass(frozen=True)
class Dataset:
    """A checked data set in memory.

    `classes` are the label names, [] when unlabelled; every class has a training sample. `test` is None when
    the data set has none. `info` is data.json, or its like made up for a bare npz (JSON values only, without
    the path on this machine). `sha256` identifies all arrays together.
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
        """Shape of one sample as stored: (H, W, C) or (D,)."""
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


def open_dataset(path: str | Path) -> Dataset:
    """Read `path` whole and check it: a data set folder, or an npz file with images or x and optional labels.

    Raises FileNotFoundError or ValueError with one line that names the file: missing or damaged files, wrong
    arrays, types or shapes, points that are not finite, labels out of range, a class without a sample, arrays
    that are not those data.json speaks of.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; give a data set folder or an npz file")
    return _open_folder(path) if path.is_dir() else _open_npz(path)


def _open_folder(path: Path) -> Dataset:
    info, stated = _read_data_json(path / "data.json")
    check_classes(stated.classes, path / "data.json")
    splits: dict[str, Split] = {}
    for split in stated.counts:
        file = path / f"{split}.npz"
        kind, content = read_split(file)
        if kind != stated.kind:
            raise ValueError(f"{file} holds {kind} data, but data.json says {stated.kind}")
        check_labels(content, stated.classes, file, every_class=split == "train")
        splits[split] = content
    found = describe(stated.name, stated.kind, stated.classes, splits)
    for key in ("shape", "counts", "sha256"):
        if found[key] != info[key]:
            raise ValueError(
                f"{path}: {key} of the arrays is {found[key]}, but data.json says {info[key]}; "
                f"the folder was altered after it was built, build it again"
            )
    return _dataset(stated.name, stated.kind, stated.classes, splits, info)


def _open_npz(path: Path) -> Dataset:
    kind, content = read_split(path)
    classes = numbered_classes(content, path)
    check_labels(content, classes, path)
    splits = {"train": content}
    info = describe(path.stem, kind, classes, splits) | {"licence": "unknown"}
    return _dataset(path.stem, kind, classes, splits, info)


def _dataset(name: str, kind: Kind, classes: list[str], splits: dict[str, Split], info: dict[str, Any]) -> Dataset:
    return Dataset(name, kind, classes, splits["train"], splits.get("test"), info, info["sha256"]["dataset"])


def _read_data_json(file: Path) -> tuple[dict[str, Any], DataJson]:
    if not file.is_file():
        raise FileNotFoundError(f"{file} does not exist; is {file.parent} a folder of `longjump data build`?")
    try:
        info = json.loads(file.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} is not JSON: {error}") from error
    if not isinstance(info, dict):
        raise ValueError(f"{file} must be a JSON object")
    if isinstance(info.get("format"), int) and info["format"] > FORMAT:
        raise ValueError(f"{file} has format {info['format']}; this longjump reads up to {FORMAT}, update it")
    try:
        stated = DataJson.model_validate(info)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise ValueError(f"{file}: {field}: {first['msg']}; build the data set again") from error
    if not {"train"} <= set(stated.counts) <= {"train", "test"}:
        raise ValueError(f"{file}: counts names {sorted(stated.counts)}; there is train, and optionally test")
    return info, stated

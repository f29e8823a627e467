"""Your pictures in tar shards, as WebDataset has them: consecutive members with one key are a sample.

    n01440764_10026.jpg  n01440764_10026.cls  n01440764_10029.jpg  n01440764_10029.json  ...

The picture is KEY.jpg, .jpeg, .png or .webp. The label is KEY.cls (an integer), or KEY.json: an integer, a class name,
or an object that has one of them under "label" (--label-key for another). All samples have a label or none has one.
Integers get the names 0, 1, ..., or those of --classes; names are sorted. Other members are passed over. --from takes
paths, patterns with braces, and folders of shards, and reads them in the order given. For example:

    longjump data build webdataset --from 'shards/train-{0000..0146}.tar' --test-from 'shards/val-{0000..0006}.tar' \\
        --size 64 --out runs/imagenet64
"""

# Read with Python's tarfile, not the library `webdataset`: that reads for training, shuffled, repeated, skipping over
# faults, and its default decoders unpickle. Here each member is read once, in order, and each fault is named.

from __future__ import annotations

import argparse
import gzip
import json
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from trainer.data.arrays import Split, check_classes, check_labels, numbered_classes
from trainer.data.folder import Built
from trainer.data.pictures import Picture, add_picture_arguments, picture_info, settings_of, write_pictures

PICTURES = ("jpg", "jpeg", "png", "webp")
SHARDS = (".tar", ".tar.gz", ".tgz")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `longjump data build webdataset`."""
    parser.add_argument("--from", dest="shards", nargs="+", required=True, metavar="SHARDS", help="shards to train on")
    parser.add_argument("--test-from", dest="test_shards", nargs="+", metavar="SHARDS", help="shards to test on")
    parser.add_argument(
        "--label-key", default="label", metavar="KEY", help="where a .json has the label (default: label)"
    )
    parser.add_argument("--classes", metavar="A,B,...", help="names of integer labels (default: 0,1,...)")
    add_picture_arguments(parser)


def build(args: argparse.Namespace, folder: Path) -> Built:
    """Read the shards, decoding into the folder."""
    settings = settings_of(args)
    parts = {"train": find_shards(args.shards)}
    if args.test_shards:
        parts["test"] = find_shards(args.test_shards)
    arrays, numbers, corrupt = {}, {}, {}
    labels = Labels(args.label_key)
    for split, shards in parts.items():
        pictures = read_shards(shards, labels)
        arrays[split], numbers[split], corrupt[split] = write_pictures(
            folder / f"{split}.images.npy", pictures, settings
        )
    classes, final = labels.finish(numbers, args.classes)
    splits = {split: Split(x, final.get(split)) for split, x in arrays.items()}
    for split, content in splits.items():
        check_labels(content, classes, f"{split} shards", every_class=split == "train")
    name = args.name or parts["train"][0].absolute().parent.name
    return Built(name, "image", classes, splits, picture_info(args, corrupt))


class Labels:
    """Labels as they are met. Integers are kept, names are numbered as they come and put in order at the end."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.kind: str | None = None
        self.first = ""
        self.names: dict[str, int] = {}

    def number(self, members: dict[str, bytes], where: str) -> int:
        """The label of a sample; 0 where there are none. Raises ValueError that names the sample."""
        label = self._read(members, where)
        kind = {int: "an integer", str: "a name"}.get(type(label), "none")
        if self.kind is None:
            self.kind, self.first = kind, where
        if kind != self.kind:
            raise ValueError(f"{where}: the label is {kind}, but that of {self.first} is {self.kind}; make them alike")
        if isinstance(label, str):
            return self.names.setdefault(label, len(self.names))
        if label is not None and not 0 <= label < 2**31:
            raise ValueError(f"{where}: the label is {label}; labels are 0 to K-1")
        return label or 0

    def _read(self, members: dict[str, bytes], where: str) -> int | str | None:
        if "cls" in members:
            text = members["cls"].decode("utf-8", "replace").strip()
            if not text.isdecimal():
                raise ValueError(f"{where}: its .cls holds {text[:40]!r}; it must be an integer, 0 to K-1")
            return int(text)
        if "json" not in members:
            return None
        try:
            found: Any = json.loads(members["json"])
        except ValueError as error:
            raise ValueError(f"{where}: its .json is not JSON: {error}") from None
        if isinstance(found, dict):
            found = found.get(self.key)
        if isinstance(found, bool) or not isinstance(found, int | str | None):
            raise ValueError(f"{where}: the label in its .json is {found!r}; it must be an integer or a class name")
        return found

    def finish(self, numbers: dict[str, list[int]], given: str | None) -> tuple[list[str], dict[str, np.ndarray]]:
        """The classes, [] when unlabelled, and the labels of each split. Raises ValueError."""
        labels = {split: np.array(found, np.int64) for split, found in numbers.items()}
        if self.kind == "a name":
            if given is not None:
                raise ValueError("--classes does not apply to shards whose labels are names already")
            classes = sorted(self.names)
            place = np.array([classes.index(name) for name in self.names])
            labels = {split: place[found] for split, found in labels.items()}
        elif self.kind == "none":
            if given is not None:
                raise ValueError("--classes does not apply to shards without labels (KEY.cls or KEY.json)")
            return [], {}
        elif given is not None:
            classes = [name.strip() for name in given.split(",")]
        else:
            classes = numbered_classes(labels["train"], "training shards")
        check_classes(classes, "the labels of the shards")
        return classes, labels


def find_shards(patterns: Sequence[str]) -> list[Path]:
    """Paths that the patterns mean, in order: `a-{000..119}.tar`, `{a,b}.tar`, a folder's shards sorted by name.

    Raises FileNotFoundError or ValueError.
    """
    shards: list[Path] = []
    for pattern in patterns:
        for path in map(Path, [pattern] if Path(pattern).exists() else expand_braces(pattern)):
            if path.is_dir():
                found = sorted(file for file in path.iterdir() if file.name.endswith(SHARDS))
                if not found:
                    raise ValueError(f"{path} has no shards ({', '.join(SHARDS)})")
                shards += found
            elif not path.exists():
                raise FileNotFoundError(f"shard {path} does not exist")
            else:
                shards.append(path)
    return shards


def expand_braces(pattern: str) -> list[str]:
    """`a{08..10}{x,y}` -> a08x a08y a09x ... : braces as a shell has them, without nesting. Raises ValueError."""
    pieces, rest = [], pattern
    while "{" in rest:
        before, _, rest = rest.partition("{")
        inside, closed, rest = rest.partition("}")
        if not closed or "{" in inside:
            raise ValueError(f"{pattern}: braces must be closed, and not nested")
        first, dots, last = inside.partition("..")
        if dots:
            if not (first.isdecimal() and last.isdecimal() and int(first) <= int(last)):
                raise ValueError(f"{pattern}: {{{inside}}} is not a range of numbers like {{000..119}}")
            choices = [str(number).zfill(len(first)) for number in range(int(first), int(last) + 1)]
        else:
            choices = inside.split(",")
        pieces += [[before], choices]
    return ["".join(parts) for parts in product(*pieces, [rest])]


def read_shards(shards: Sequence[Path], labels: Labels) -> Iterator[Picture]:
    """The samples of the shards, in order. Raises ValueError that names the shard, and the sample where it has one."""
    empty = True
    for shard in shards:
        for key, members in read_samples(shard):
            empty = False
            where = f"{shard}: {key}"
            suffix = next((suffix for suffix in PICTURES if suffix in members), None)
            if suffix is None:
                has = ", ".join(sorted(members))
                raise ValueError(f"{where} has no picture ({', '.join(PICTURES)}), only {has}")
            yield Picture(f"{where}.{suffix}", labels.number(members, where), members[suffix])
    if empty:
        raise ValueError(f"there is no sample in {shards[0]}" + f" and {len(shards) - 1} more" * (len(shards) > 1))


def read_samples(shard: Path) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Key and members by suffix of each sample of a shard: of a/b.c.jpg the key is a/b, the suffix c.jpg."""
    current: str | None = None
    members: dict[str, bytes] = {}
    try:
        # Cut in the middle of a header, a tar ends silently for tarfile.
        if shard.suffix == ".tar" and (size := shard.stat().st_size) % tarfile.BLOCKSIZE:
            raise ValueError(f"shard {shard} is damaged: {size} bytes are no whole number of blocks of 512")
        with tarfile.open(shard, "r:*") as tar:
            for member in tar:
                tar.members.clear()  # type: ignore[attr-defined]  # tarfile would keep every header
                path = PurePosixPath(member.name)
                stem, dot, suffix = path.name.partition(".")
                if not member.isfile() or not stem or not dot:
                    continue
                key = str(path.with_name(stem))
                if key != current:
                    if members:
                        yield str(current), members
                    current, members = key, {}
                if suffix in members:
                    raise ValueError(f"{shard}: {member.name} is there twice")
                if suffix.lower() in (*PICTURES, "cls", "json"):
                    file = tar.extractfile(member)
                    assert file is not None  # a regular file
                    members[suffix.lower()] = file.read()
            if members:
                yield str(current), members
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError) as error:
        after = f" after {current}" if current is not None else ""
        raise ValueError(f"shard {shard} is damaged{after}: {error}") from None

"""Your pictures, in a folder per class.

    photos/cat/0001.jpg
    photos/cat/old/0002.png        folders within a class are looked into
    photos/dog/0001.webp

The names of the folders are the classes. Pictures that lie in the folder itself make a data set without labels. Other
files, and names that begin with a dot, are passed over. Each picture is turned as EXIF says, laid on white where it is
transparent, cut to the largest square in its middle and resized (Lanczos) to --size. The order is that of the paths.

A test split: --test-share 0.1 sets aside a tenth of each class, chosen by a hash of the paths, so that the same files
are chosen every time; or --test-from names another folder with the same classes. For example:

    longjump data build folder --from photos --size 64 --test-share 0.1 --out runs/photos
"""

from __future__ import annotations

import argparse
import hashlib
import os
from collections.abc import Iterator
from itertools import groupby
from operator import attrgetter
from pathlib import Path

import numpy as np

from trainer.data.arrays import Split, check_classes, check_labels
from trainer.data.folder import Built
from trainer.data.pictures import (
    SUFFIXES,
    Picture,
    add_picture_arguments,
    picture_info,
    settings_of,
    write_pictures,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `longjump data build folder`."""
    parser.add_argument("--from", dest="source_folder", type=Path, required=True, metavar="DIR", help="the pictures")
    test = parser.add_mutually_exclusive_group()
    test.add_argument("--test-from", dest="test_folder", type=Path, metavar="DIR", help="pictures of the test split")
    test.add_argument(
        "--test-share", type=float, default=0.0, metavar="P", help="share of --from to test on (default: 0)"
    )
    add_picture_arguments(parser)


def build(args: argparse.Namespace, folder: Path) -> Built:
    """Find the pictures, then decode them into the folder."""
    settings = settings_of(args)
    if not 0 <= args.test_share < 1:
        raise ValueError(f"--test-share is {args.test_share}; it must be 0 (no test split) or more, and less than 1")
    classes, train = find_pictures(args.source_folder)
    parts = {"train": train}
    if args.test_folder is not None:
        test_classes, parts["test"] = find_pictures(args.test_folder)
        if test_classes != classes:
            missing, more = sorted(set(classes) - set(test_classes)), sorted(set(test_classes) - set(classes))
            raise ValueError(
                f"{args.test_folder} has other classes than {args.source_folder}: "
                + "; ".join(
                    [f"no {', '.join(missing[:5])}"] * bool(missing) + [f"also {', '.join(more[:5])}"] * bool(more)
                )
            )
    elif args.test_share:
        parts["train"], parts["test"] = set_aside(train, args.source_folder, args.test_share)
    splits, corrupt = {}, {}
    for split, pictures in parts.items():
        x, labels, corrupt[split] = write_pictures(folder / f"{split}.images.npy", pictures, settings, len(pictures))
        splits[split] = Split(x, np.array(labels, np.int64) if classes else None)
        check_labels(splits[split], classes, f"{split} pictures", every_class=split == "train")
    name = args.name or args.source_folder.absolute().name
    return Built(name, "image", classes, splits, picture_info(args, corrupt))


def find_pictures(root: Path) -> tuple[list[str], list[Picture]]:
    """The classes, sorted, [] where the pictures lie in `root` itself; and the pictures, sorted by class and path.

    Raises FileNotFoundError, NotADirectoryError, or ValueError: no pictures, a class without any, or pictures both in
    `root` and in folders.
    """
    if not root.exists():
        raise FileNotFoundError(f"{root} does not exist; give the folder of the pictures")
    if not root.is_dir():
        raise NotADirectoryError(f"{root} is a file; give the folder of the pictures (or use npz, webdataset)")
    entries = sorted(
        (entry for entry in root.iterdir() if not entry.name.startswith(".")), key=lambda entry: entry.name
    )
    folders = [entry for entry in entries if entry.is_dir()]
    loose = [entry for entry in entries if entry.is_file() and is_picture(entry.name)]
    if not folders:
        if not loose:
            raise ValueError(f"{root} has no pictures ({', '.join(SUFFIXES)}) and no folders of them")
        return [], [Picture(str(file)) for file in loose]
    if loose:
        raise ValueError(
            f"{root} has pictures beside its class folders: {loose[0].name}; move them into a class, "
            "or all pictures into one folder for a data set without labels"
        )
    classes = [folder.name for folder in folders]
    check_classes(classes, root)
    pictures = []
    for label, folder in enumerate(folders):
        found = [Picture(file, label) for file in pictures_below(folder)]
        if not found:
            raise ValueError(
                f"class folder {folder} has no pictures ({', '.join(SUFFIXES)}); add some, or remove the folder"
            )
        pictures += found
    return classes, pictures


def pictures_below(folder: Path) -> Iterator[str]:
    """Paths of the pictures in a folder and in those below it, sorted; links to folders are not followed."""
    for parent, below, files in os.walk(folder):
        below[:] = sorted(name for name in below if not name.startswith("."))
        yield from (os.path.join(parent, name) for name in sorted(files) if is_picture(name))


def is_picture(name: str) -> bool:
    """Whether a file's name is that of a picture, and not hidden."""
    return not name.startswith(".") and name.lower().endswith(SUFFIXES)


def set_aside(pictures: list[Picture], root: Path, share: float) -> tuple[list[Picture], list[Picture]]:
    """Training and test pictures: of each class the share, rounded, whose paths have the smallest SHA-256.

    Raises ValueError where a class has nothing left to train on, or no test picture comes about.
    """
    test: set[str] = set()
    for _, group in groupby(pictures, attrgetter("label")):  # they are sorted by it
        of_class = list(group)
        chosen = sorted(of_class, key=lambda picture: _path_hash(picture, root))[: round(share * len(of_class))]
        if len(chosen) == len(of_class):
            raise ValueError(
                f"--test-share {share} leaves nothing to train on of the {len(of_class)} pictures like "
                f"{of_class[0].where}; choose a smaller share"
            )
        test |= {picture.where for picture in chosen}
    if not test:
        raise ValueError(f"--test-share {share} is less than one picture of every class; choose a larger share")
    return [p for p in pictures if p.where not in test], [p for p in pictures if p.where in test]


def _path_hash(picture: Picture, root: Path) -> bytes:
    return hashlib.sha256(Path(picture.where).relative_to(root).as_posix().encode()).digest()

"""Your own data as a data set: an npz file with `images` or `x`, and optional `labels`.

images   uint8 [N, H, W, C], C = 1 or 3
x        float32 [N, D]
labels   integers [N], 0 to K-1, each class with at least one sample
"""

from __future__ import annotations

import argparse
from pathlib import Path

from trainer.data.arrays import check_classes, check_labels, numbered_classes, read_split
from trainer.data.folder import Built


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `longjump data build npz`."""
    add_file_arguments(parser, required=True)


def add_file_arguments(parser: argparse.ArgumentParser, required: bool) -> None:
    """The options for your own files; `points` has them too."""
    parser.add_argument("--from", dest="train_file", type=Path, required=required, metavar="FILE", help="training npz")
    parser.add_argument("--test-from", dest="test_file", type=Path, metavar="FILE", help="test npz (default: none)")
    parser.add_argument("--classes", metavar="A,B,...", help="names of the labels (default: 0,1,...)")
    parser.add_argument("--name", help="name of the data set (default: that of the file)")
    parser.add_argument("--licence", help="licence, for the model card (default: unknown)")


def build(args: argparse.Namespace, folder: Path) -> Built:
    """Read and check the files that the arguments name."""
    kind, train = read_split(args.train_file)
    if args.classes is None:
        classes = numbered_classes(train.labels, args.train_file)
    else:
        classes = [name.strip() for name in args.classes.split(",")]
    check_classes(classes, "--classes")
    check_labels(train, classes, args.train_file)
    splits = {"train": train}
    if args.test_file is not None:
        test_kind, test = read_split(args.test_file)
        if (test_kind, test.x.shape[1:]) != (kind, train.x.shape[1:]):
            raise ValueError(
                f"{args.test_file} holds {test_kind} data of shape {list(test.x.shape[1:])}, "
                f"but {args.train_file} holds {kind} data of shape {list(train.x.shape[1:])}"
            )
        if (test.labels is None) != (train.labels is None):
            raise ValueError(f"one of {args.train_file} and {args.test_file} has labels, the other has not")
        check_labels(test, classes, args.test_file, every_class=False)
        splits["test"] = test
    info = {"licence": args.licence or "unknown"}
    return Built(args.name or args.train_file.stem, kind, classes, splits, info)

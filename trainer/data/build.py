"""`longjump data build NAME --out PATH`: make a data set folder (train.npz, test.npz, data.json)."""

from __future__ import annotations

import argparse
from importlib import import_module
from pathlib import Path

# Each module has add_arguments(parser) and build(args) -> Built, and is light to import.
SOURCES = {
    "facets": ("trainer.data.facets", "CC0 vector art in 16 classes, drawn here; nothing is downloaded"),
    "points": ("trainer.data.points", "points from a known distribution, or your own"),
    "npz": ("trainer.data.npz", "your own arrays: images or x (points), and labels"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `longjump data`."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="build")
    build = actions.add_parser("build", help="make a data set folder", description=__doc__)
    names = build.add_subparsers(dest="source", required=True, metavar="NAME")
    for name, (module, summary) in SOURCES.items():
        maker = import_module(module)
        source = names.add_parser(
            name,
            help=summary,
            description=maker.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        source.add_argument("--out", type=Path, required=True, metavar="PATH", help="the folder to make")
        maker.add_arguments(source)


def run(args: argparse.Namespace) -> int:
    """Build the data set, print what it is and the SHA-256 of its arrays; 0 on success.

    Raises ValueError or OSError; then the folder does not exist.
    """
    from trainer.data.folder import check_target, write_dataset

    check_target(args.out)
    info = write_dataset(args.out, import_module(SOURCES[args.source][0]).build(args))
    counts = ", ".join(f"{count} {split}" for split, count in info["counts"].items())
    classes = f"{len(info['classes'])} classes" if info["classes"] else "no labels"
    shape = "x".join(map(str, info["shape"]))
    print(f"{args.out}: {info['name']}, {info['kind']} {shape}, {counts}, {classes}")
    for name, digest in info["sha256"].items():
        print(f"sha256 {name:<13} {digest}")
    return 0

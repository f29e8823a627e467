"""Data sets: `longjump data build NAME --out PATH` makes one, `longjump data verify PATH` reads it whole and checks it.

A data set is a folder: data.json and a .npy file per array (docs/formats.md). `longjump data build NAME --help` tells
of one source. For example:

    longjump data build facets --size 32 --out runs/facets
    longjump data build folder --from photos --size 64 --test-share 0.1 --out runs/photos
"""

from __future__ import annotations

import argparse
from importlib import import_module
from pathlib import Path

# Each module has add_arguments(parser) and build(args, folder) -> Built, and is light to import. What does not fit into
# memory, `build` writes into the folder (`ArrayFile`); the rest is written from the arrays that it returns.
SOURCES = {
    "facets": ("trainer.data.facets", "CC0 vector art in 16 classes, drawn here; nothing is downloaded"),
    "fashion-mnist": ("trainer.data.fashion_mnist", "grey pictures of clothes in 10 classes, from a Debian package"),
    "cifar10": ("trainer.data.cifar10", "colour pictures in 10 classes, from the official archive"),
    "folder": ("trainer.data.class_folders", "your pictures in a folder per class, cropped and resized"),
    "webdataset": ("trainer.data.webdataset", "your pictures in tar shards, as WebDataset has them"),
    "npz": ("trainer.data.npz", "your own arrays: images or x (points), and labels"),
    "latents": ("trainer.data.latents", "your own arrays: latents that an autoencoder has made, and labels"),
    "encoded": ("trainer.data.encoded", "pictures of another data set as the latents of an autoencoder"),
    "points": ("trainer.data.points", "points from a known distribution, or your own"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `longjump data`."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    build = actions.add_parser(
        "build", help="make a data set folder", description="Make a data set folder from one of the sources below."
    )
    names = build.add_subparsers(dest="source", required=True, metavar="NAME", title="sources")
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
    what = "read a data set whole and compare it with its hashes"
    verify = actions.add_parser("verify", help=what, description=what.capitalize() + ", whatever its size.")
    verify.add_argument("path", type=Path, metavar="PATH", help="a data set folder, or an npz file")


def run(args: argparse.Namespace) -> int:
    """Build or verify the data set, print what it is and the SHA-256 of its arrays; 0 on success.

    Raises ValueError or OSError; of a build, the folder does not exist then.
    """
    from trainer.data.dataset import open_dataset
    from trainer.data.folder import fill, new_folder

    if args.action == "verify":
        path, info = args.path, open_dataset(args.path, verify=True).info
    else:
        path = args.out
        with new_folder(args.out) as folder:
            info = fill(folder, import_module(SOURCES[args.source][0]).build(args, folder))
    counts = ", ".join(f"{count} {split}" for split, count in info["counts"].items())
    classes = f"{len(info['classes'])} classes" if info["classes"] else "no labels"
    shape = "x".join(map(str, info["shape"]))
    print(f"{path}: {info['name']}, {info['kind']} {shape}, {counts}, {classes}")
    for split, count in info.get("corrupt", {}).items():
        if count:
            print(f"{count} corrupt picture{'s' * (count > 1)} left out of {split}; data.json names what and why")
    for name, digest in info["sha256"].items():
        print(f"sha256 {name:<13} {digest}")
    return 0

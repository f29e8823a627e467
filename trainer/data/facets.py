"""facets: 16 classes of procedurally composed CC0 vector art, drawn here, so there is nothing to download.

Each class is one avatar style of the package `dicebear-styles`; `dicebear-core` composes an SVG from a style
and a seed string, `resvg-py` draws it. Every style keeps its own defaults (colours, backgrounds, chances).

Image i of a split has class i % 16 and the seed string "<seed>/<split>/<class>/<i // 16>". So classes are
balanced to within one image, a smaller data set is a prefix of a larger one, no seed string is shared between
train and test, and the pixels do not depend on the number of workers.

Drawing takes about 8 ms of one core per picture of 32 x 32. Some styles have few combinations
(pixelbot 3,150), so they repeat pictures, also between train and test; data.json says how many.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
from functools import cache, partial
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from export.runtime.cores import available_cores
from trainer.data.arrays import Split
from trainer.data.folder import Built
from trainer.data.workers import check_workers, in_processes

if TYPE_CHECKING:
    from dicebear import Style

CLASSES = (
    "clay", "critters", "cutouts", "landscape", "lorelei", "marbles", "moods", "notionists",
    "open-peeps", "pixel-art", "pixelbot", "planets", "sprouts", "thumbs", "voxel-art", "voxel-bot",
)  # fmt: skip
SIZES = (32, 64)
LICENCE = "CC0-1.0"
SUPERSAMPLE = 2  # drawn this much larger, then averaged: thin lines and blurs come out truer
CHUNK = 128  # pictures per task of a worker, about a second of work
PACKAGES = ("dicebear-core", "dicebear-styles", "resvg-py")
CC0_NAME, CC0_URL = "CC0 1.0", "https://creativecommons.org/publicdomain/zero/1.0/"


def read_definition(name: str) -> dict[str, Any]:
    """The definition of the style `name`, as dicebear-styles ships it.

    Raises ValueError when its own metadata does not say CC0 1.0: a data set must not change its licence
    silently because a package was updated.
    """
    text = files("dicebear_styles").joinpath(f"{name}.json").read_text("utf-8")
    definition: dict[str, Any] = json.loads(text)
    licence = definition["meta"]["license"]
    if (licence["name"], licence["url"]) != (CC0_NAME, CC0_URL):
        raise ValueError(
            f"style {name!r} of dicebear-styles {version('dicebear-styles')} has the licence "
            f"{licence['name']!r} ({licence['url']}); facets takes {CC0_NAME!r} ({CC0_URL}) only"
        )
    return definition


@cache  # checking a definition against its schema takes a third of a second
def load_style(name: str) -> Style:
    """The style `name`, ready to compose from; errors as in `read_definition`."""
    from dicebear import Style

    return Style(read_definition(name))


def credit(name: str) -> dict[str, str]:
    """Title, creator, source and licence of one class, from the style's own metadata."""
    meta = read_definition(name)["meta"]
    return {
        "title": meta["source"]["name"],
        "creator": meta["creator"]["name"],
        "creator_url": meta["creator"]["url"],
        "source_url": meta["source"]["url"],
        "licence": meta["license"]["name"],
        "licence_url": meta["license"]["url"],
    }


def seed_string(seed: int, split: str, index: int) -> str:
    """What image `index` of a split is composed from; injective in (seed, split, index)."""
    return f"{seed}/{split}/{CLASSES[index % len(CLASSES)]}/{index // len(CLASSES)}"


def box_downsample_on_white(rgba: np.ndarray, factor: int) -> np.ndarray:
    """Composite on white, then average: uint8 [factor*H, factor*W, 4], straight alpha -> uint8 [H, W, 3].

    Integers only, rounded once (half up), so that every machine gets the same bytes.
    """
    height, width = rgba.shape[0] // factor, rgba.shape[1] // factor
    alpha = rgba[..., 3:].astype(np.int64)
    on_white = rgba[..., :3] * alpha + 255 * (255 - alpha)  # in 1/255 of a grey level
    total = on_white.reshape(height, factor, width, factor, 3).sum(axis=(1, 3))
    whole = 255 * factor * factor
    return ((total + whole // 2) // whole).astype(np.uint8)


def draw(name: str, seed: str, size: int) -> np.ndarray:
    """One picture of class `name`: uint8 [size, size, 3]."""
    import resvg_py
    from dicebear import Avatar
    from PIL import Image

    side = size * SUPERSAMPLE
    svg = Avatar(load_style(name), {"seed": seed}).to_string()
    # No style has text; without system fonts the pixels cannot depend on what is installed here.
    png = resvg_py.svg_to_bytes(svg_string=svg, width=side, height=side, skip_system_fonts=True)
    rgba = np.asarray(Image.open(io.BytesIO(png)).convert("RGBA"))
    return box_downsample_on_white(rgba, SUPERSAMPLE)


class Task(NamedTuple):
    """Pictures of one class for one worker: numbers first..last - 1 of class `label` in a split."""

    split: str
    label: int
    first: int
    last: int


def draw_task(task: Task, size: int, seed: int) -> np.ndarray:
    """Pictures of a task, uint8 [last - first, size, size, 3]."""
    indices = [task.label + len(CLASSES) * number for number in range(task.first, task.last)]
    pictures = [draw(CLASSES[task.label], seed_string(seed, task.split, index), size) for index in indices]
    return np.stack(pictures)


def draw_facets(
    size: int, train: int, test: int, seed: int = 0, workers: int | None = None, progress: bool = True
) -> dict[str, np.ndarray]:
    """Draw the splits: {"train": uint8 [train, size, size, 3], "test": uint8 [test, size, size, 3]}.

    No "test" when `test` is 0; labels follow from the index (`facets_labels`). `workers` None means one per
    core that this process may use. Raises ValueError for a size or counts that cannot be built, OSError when
    a worker process dies.
    """
    check_request(size, train, test, seed, workers)
    from tqdm import tqdm

    for name in CLASSES:
        read_definition(name)  # a missing or relicensed style fails here, not inside a worker
    counts = {"train": train, "test": test} if test else {"train": train}
    images = {split: np.empty((count, size, size, 3), np.uint8) for split, count in counts.items()}
    tasks = [  # class by class, so that a worker of a small build loads few styles
        Task(split, label, first, min(first + CHUNK, len(array[label :: len(CLASSES)])))
        for label in range(len(CLASSES))
        for split, array in images.items()
        for first in range(0, len(array[label :: len(CLASSES)]), CHUNK)
    ]
    workers = min(workers or available_cores(), len(tasks))
    drawn = in_processes(partial(draw_task, size=size, seed=seed), tasks, workers)
    with tqdm(total=train + test, unit="image", desc=f"facets {size}x{size}", disable=not progress) as bar:
        for task, pictures in zip(tasks, drawn, strict=True):
            images[task.split][task.label :: len(CLASSES)][task.first : task.last] = pictures
            bar.update(len(pictures))
    return images


def facets_labels(count: int) -> np.ndarray:
    """Labels of the first `count` images of any split: int64 [count], class i % 16."""
    return np.arange(count, dtype=np.int64) % len(CLASSES)


def check_request(size: int, train: int, test: int, seed: int, workers: int | None) -> None:
    """Raise ValueError, saying what would be right, unless facets can be drawn like this."""
    if size not in SIZES:
        raise ValueError(f"--size is {size}; facets are drawn at {' or '.join(map(str, SIZES))}")
    if train < len(CLASSES):
        raise ValueError(f"--train is {train}; {len(CLASSES)} classes need at least as many images")
    if test != 0 and test < len(CLASSES):
        raise ValueError(f"--test is {test}; give 0 (no test split) or at least {len(CLASSES)} (one per class)")
    if seed < 0:
        raise ValueError(f"--seed is {seed}; it must be 0 or larger")
    check_workers(workers)


def distinct_images(images: np.ndarray) -> list[set[bytes]]:
    """Per class, the SHA-256 of each different picture."""
    count = len(CLASSES)
    return [{hashlib.sha256(image).digest() for image in images[label::count]} for label in range(count)]


def facets_info(images: dict[str, np.ndarray], size: int, seed: int) -> dict[str, Any]:
    """What data.json says beyond the arrays: licence, credit of every class, generator, repeats."""
    distinct = {split: distinct_images(array) for split, array in images.items()}
    repeats = {
        split: {name: len(seen) for name, seen in zip(CLASSES, pictures, strict=True)}
        for split, pictures in distinct.items()
    }
    if "test" in images:
        shared = [len(test & train) for test, train in zip(distinct["test"], distinct["train"], strict=True)]
        repeats["test_also_in_train"] = dict(zip(CLASSES, shared, strict=True))
    return {
        "licence": LICENCE,
        "credits": {name: credit(name) for name in CLASSES},
        "generator": {
            "size": size,
            "seed": seed,
            "seed_string": "<seed>/<split>/<class>/<index // 16>",
            "supersample": SUPERSAMPLE,
            "background": "the style's own, transparency on white",
            "packages": {package: version(package) for package in PACKAGES},
        },
        "distinct": repeats,
    }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `longjump data build facets`."""
    parser.add_argument("--size", type=int, default=32, choices=SIZES, help="width and height (default: 32)")
    parser.add_argument("--train", type=int, default=60000, metavar="N", help="training images (default: 60000)")
    parser.add_argument("--test", type=int, default=10000, metavar="N", help="test images (default: 10000)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="other pictures (default: 0)")
    parser.add_argument("--workers", type=int, metavar="N", help="processes (default: one per core)")


def build(args: argparse.Namespace, folder: Path) -> Built:
    """Draw the data set that the arguments ask for."""
    images = draw_facets(args.size, args.train, args.test, args.seed, args.workers)
    splits = {split: Split(array, facets_labels(len(array))) for split, array in images.items()}
    return Built("facets", "image", list(CLASSES), splits, facets_info(images, args.size, args.seed))

"""From encoded pictures of any size to square arrays, on all cores, with what to do about the ones that are damaged.

The rule: turn as EXIF says, lay transparency on white, cut the largest square out of the middle (of an odd rest the
left or top part is the smaller one), and resize it with Pillow's Lanczos filter, which averages when it makes smaller.
Smaller pictures are enlarged. Of an animation the first frame counts; 16-bit grey is scaled to 8.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np

from trainer.data.npy import ArrayFile, map_array
from trainer.data.workers import check_workers, in_processes

Item = TypeVar("Item")

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
RULE = "EXIF turned, on white, centre square, Lanczos"
CHUNK = 64  # pictures per task of a worker


class Picture(NamedTuple):
    """An encoded picture: its file; or where it came from, for messages, and its bytes."""

    where: str
    label: int = 0
    content: bytes | None = None


@dataclass(frozen=True)
class Settings:
    """What becomes of each picture."""

    size: int
    grey: bool
    on_corrupt: Literal["stop", "skip"]
    workers: int | None


def add_picture_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of every source of encoded pictures."""
    parser.add_argument(
        "--size", type=int, required=True, metavar="N", help="width and height of the data set's pictures"
    )
    parser.add_argument("--grey", action="store_true", help="one channel instead of three")
    parser.add_argument(
        "--on-corrupt", choices=("stop", "skip"), default="stop",
        help="at a picture that cannot be read: stop and name it, or leave it out and list it in data.json "
        "(default: stop)",
    )  # fmt: skip
    parser.add_argument("--name", help="name of the data set (default: that of the folder)")
    parser.add_argument("--licence", help="licence, for the model card (default: unknown)")
    parser.add_argument("--workers", type=int, metavar="N", help="processes that decode (default: one per core)")


def settings_of(args: argparse.Namespace) -> Settings:
    """The checked options. Raises ValueError."""
    if not 1 <= args.size <= 4096:
        raise ValueError(f"--size is {args.size}; it must be 1 to 4096 pixels")
    check_workers(args.workers)
    return Settings(args.size, args.grey, args.on_corrupt, args.workers)


def picture_info(args: argparse.Namespace, corrupt: dict[str, list[str]]) -> dict[str, Any]:
    """What data.json says of pictures, and of those left out per split."""
    info = {
        "licence": args.licence or "unknown",
        "pictures": {"size": args.size, "grey": args.grey, "rule": RULE},
        "corrupt": {split: len(lines) for split, lines in corrupt.items()},
    }
    lines = [line for split in corrupt.values() for line in split]
    return info | ({"corrupt_pictures": lines} if lines else {})


def square(image: Any, size: int, grey: bool) -> np.ndarray:
    """A Pillow image by the rule above: uint8 [size, size, 3], or [size, size, 1] for grey."""
    from PIL import Image, ImageOps

    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):  # 16 bits; Pillow would clip, not scale
        image = Image.fromarray((np.asarray(image).astype(np.int64).clip(0, 65535) // 257).astype(np.uint8))
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    image = image.convert("L" if grey else "RGB")
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    image = image.crop((left, top, left + side, top + side)).resize((size, size), Image.Resampling.LANCZOS)
    return np.asarray(image).reshape(size, size, 1 if grey else 3)


class Decoded(NamedTuple):
    """A task's pictures in order, uint8 [n, size, size, C], their labels, and a line for each that is damaged."""

    pixels: np.ndarray
    labels: list[int]
    corrupt: list[str]


def decode(pictures: Sequence[Picture], size: int, grey: bool) -> Decoded:
    """Decode the pictures of one task. Raises OSError for a file that cannot be opened at all."""
    from PIL import Image

    pixels, labels, corrupt = [], [], []
    for where, label, content in pictures:
        encoded = Path(where).read_bytes() if content is None else content
        try:
            with Image.open(io.BytesIO(encoded)) as image:
                pixels.append(square(image, size, grey))
            labels.append(label)
        except Exception as error:  # Pillow's readers raise whatever damaged bytes lead them to
            reason = " ".join(str(error).split())
            shown = "unknown format" if isinstance(error, Image.UnidentifiedImageError) else reason
            corrupt.append(f"{where}: not a readable picture ({shown or type(error).__name__})")
    channels = 1 if grey else 3
    return Decoded(np.stack(pixels) if pixels else np.empty((0, size, size, channels), np.uint8), labels, corrupt)


def write_pictures(
    file: Path, pictures: Iterable[Picture], settings: Settings, total: int | None = None
) -> tuple[np.ndarray, list[int], list[str]]:
    """Decode pictures into the new .npy file `file`, in their order, without holding them all in memory.

    Args:
        total: how many there are, where that is known.

    Returns:
        The file's array [N, size, size, C], the labels [N], and a line for each picture that was left out.

    Raises:
        ValueError: a picture is damaged and `on_corrupt` is "stop", or none is left.
        OSError: a file cannot be read, the disk is full, a process died.
    """
    from tqdm import tqdm

    labels: list[int] = []
    corrupt: list[str] = []
    work = partial(decode, size=settings.size, grey=settings.grey)
    shape = (settings.size, settings.size, 1 if settings.grey else 3)
    workers = 1 if total is not None and total <= CHUNK else settings.workers
    with (
        closing(in_processes(work, chunks(pictures, CHUNK), workers)) as decoded,
        ArrayFile(file, shape, np.dtype(np.uint8)) as out,
        tqdm(total=total, unit="image", desc=file.name.partition(".")[0]) as bar,
    ):
        for part in decoded:
            corrupt += part.corrupt
            if corrupt and settings.on_corrupt == "stop":
                raise ValueError(f"{corrupt[0]}; mend or remove it, or leave such pictures out by --on-corrupt skip")
            out.append(part.pixels)
            labels += part.labels
            bar.update(len(part.labels) + len(part.corrupt))
    if not labels:
        raise ValueError(f"no picture is left: all {len(corrupt)} are damaged, the first: {corrupt[0]}")
    return map_array(file), labels, corrupt


def chunks(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Consecutive lists of `size` items, the last one shorter."""
    iterator = iter(items)
    while part := list(islice(iterator, size)):
        yield part

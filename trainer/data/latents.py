"""Latents: what an autoencoder has made of pictures, computed beforehand, so that training need not run it.

latents   float16 or float32 [N, C, H, W]
labels    integers [N], 0 to K-1, optional
mean      a number or [C], optional
scale     a number or [C], optional

--from takes one npz file or several, which are joined. Training sees z = (latents - mean) * scale, per channel; a
decoder of z begins with z / scale + mean. Both are recorded in data.json. They are what --mean and --scale say, or the
files; otherwise they are computed from the training latents so that each channel of z has the mean 0 and the standard
deviation 0.5, that of pictures in [-1, 1], which the recipes are made for. For latents that are scaled already give
--mean 0 --scale 1. What makes latents: for example diffusers' AutoencoderKL, `vae.encode(x).latent_dist.sample()`.
"""

from __future__ import annotations

import argparse
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from trainer.data.arrays import Split, check_classes, check_label_array, check_labels, check_latents, numbered_classes
from trainer.data.folder import Built
from trainer.data.npy import BLOCK, ArrayFile, map_array

STD = 0.5
RULE = "z = (latents - mean) * scale"
KEYS = ("latents", "labels", "mean", "scale")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `longjump data build latents`."""
    parser.add_argument(
        "--from", dest="train_files", type=Path, nargs="+", required=True, metavar="FILE", help="npz files to train on"
    )
    parser.add_argument(
        "--test-from", dest="test_files", type=Path, nargs="+", metavar="FILE", help="npz files of the test split"
    )
    parser.add_argument("--mean", type=numbers, metavar="M,...", help="subtracted, one number or one per channel")
    parser.add_argument("--scale", type=numbers, metavar="S,...", help="multiplied by, one number or one per channel")
    parser.add_argument("--autoencoder", metavar="NAME", help="which one made them, for the record")
    parser.add_argument("--classes", metavar="A,B,...", help="names of the labels (default: 0,1,...)")
    parser.add_argument("--name", help="name of the data set (default: that of the first file)")
    parser.add_argument("--licence", help="licence, for the model card (default: unknown)")


def build(args: argparse.Namespace, folder: Path) -> Built:
    """Read the files twice, once for mean and scale and once to write z into the folder; never all of it at once."""
    train = [LatentFile(path) for path in args.train_files]
    test = [LatentFile(path) for path in args.test_files or []]
    check_alike([*train, *test])
    channels = train[0].shape[1]
    mean = _stated("mean", args.mean, train, channels)
    scale = _stated("scale", args.scale, train, channels)
    if mean is None or scale is None:
        found_mean, found_std = statistics(train)
        mean = found_mean if mean is None else mean
        scale = STD / found_std if scale is None else scale
    labels = {split: _labels(files) for split, files in (("train", train), ("test", test)) if files}
    classes = (
        numbered_classes(labels["train"], args.train_files[0])
        if args.classes is None
        else [name.strip() for name in args.classes.split(",")]
    )
    check_classes(classes, "--classes")
    splits = {}
    for split, files in (("train", train), ("test", test)):
        if files:
            z = write_z(folder / f"{split}.latents.npy", files, mean, scale)
            splits[split] = Split(z, labels[split])
            check_labels(splits[split], classes, files[0].path, every_class=split == "train")
    latents = {"rule": RULE, "mean": mean.tolist(), "scale": scale.tolist(), "autoencoder": args.autoencoder}
    info = {"licence": args.licence or "unknown", "latents": latents}
    return Built(args.name or args.train_files[0].stem, "image", classes, splits, info)


class Latents(Protocol):
    """Latents in a file, of which a few rows at a time are read."""

    @property
    def path(self) -> Path:
        """The file, for messages."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one row, or of all of them: the last three sides are [C, H, W]."""

    @property
    def dtype(self) -> np.dtype:
        """As it is stored."""

    def blocks(self) -> Iterator[np.ndarray]:
        """Consecutive rows, float32 [n, C, H, W], all finite."""


class LatentFile:
    """An npz file with `latents`, of which a few rows at a time are read.

    Raises FileNotFoundError or ValueError that names the file.
    """

    def __init__(self, path: Path) -> None:
        if not path.exists():
            raise FileNotFoundError(f"{path} does not exist")
        self.path = path
        try:
            with np.load(path, allow_pickle=False) as file:
                names = list(file.files)
                self.small = {key: file[key] for key in names if key in KEYS and key != "latents"}
        except (ValueError, OSError, AttributeError, TypeError, zlib.error, zipfile.BadZipFile) as error:
            raise ValueError(f"{path} is damaged, or not an npz file of plain numbers ({error})") from None
        if "latents" not in names or set(names) - set(KEYS):
            raise ValueError(f"{path} holds {', '.join(names)}; it needs latents, and may have {', '.join(KEYS[1:])}")
        with zipfile.ZipFile(path) as archive, archive.open("latents.npy") as member:
            self.shape, fortran, self.dtype = _read_header(member, path)
        if fortran:
            raise ValueError(f"{path}: latents is stored column by column; save np.ascontiguousarray(latents)")
        check_latents(np.broadcast_to(np.zeros((), self.dtype), self.shape), path)

    def blocks(self) -> Iterator[np.ndarray]:
        """Consecutive rows, float32 [n, C, H, W], all finite. Raises ValueError."""
        row = int(np.prod(self.shape[1:])) * self.dtype.itemsize
        size, done = max(1, BLOCK // row), 0
        try:
            with zipfile.ZipFile(self.path) as archive, archive.open("latents.npy") as member:
                _read_header(member, self.path)
                while done < self.shape[0]:
                    count = min(size, self.shape[0] - done)
                    content = member.read(count * row)
                    if len(content) < count * row:
                        raise EOFError("latents ends early")
                    rows = np.frombuffer(content, self.dtype).reshape(count, *self.shape[1:]).astype(np.float32)
                    finite = np.isfinite(rows).all(axis=(1, 2, 3))
                    if not finite.all():
                        row_number = done + int(np.argmin(finite))
                        raise ValueError(f"{self.path}: latents[{row_number}] has numbers that are not finite")
                    yield rows
                    done += count
        except (zlib.error, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(f"{self.path} is damaged: {error}") from None


def check_alike(files: Sequence[LatentFile]) -> None:
    """Raise ValueError unless all files have latents of one shape and type, and all or none have labels."""
    first = files[0]
    for file in files[1:]:
        if (file.shape[1:], file.dtype) != (first.shape[1:], first.dtype):
            raise ValueError(
                f"{file.path} holds {file.dtype} {list(file.shape[1:])}, "
                f"but {first.path} holds {first.dtype} {list(first.shape[1:])}"
            )
        if ("labels" in file.small) != ("labels" in first.small):
            raise ValueError(f"one of {first.path} and {file.path} has labels, the other has not")
        for key in ("mean", "scale"):
            if not np.array_equal(file.small.get(key, np.nan), first.small.get(key, np.nan), equal_nan=True):
                raise ValueError(f"{file.path} and {first.path} have different arrays {key}")


def statistics(files: Sequence[Latents]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation per channel, float64 [C], over all files. ValueError for a constant channel."""
    channels = files[0].shape[-3]
    count, total, square = 0, np.zeros(channels), np.zeros(channels)
    shift: np.ndarray | None = None  # near the mean, so that the squares do not cancel
    for file in files:
        for rows in file.blocks():
            wide = rows.astype(np.float64)
            if shift is None:
                shift = wide.mean(axis=(0, 2, 3))
            wide -= shift[:, None, None]
            count += wide.size // channels
            total += wide.sum(axis=(0, 2, 3))
            square += (wide**2).sum(axis=(0, 2, 3))
    assert shift is not None
    mean = total / count
    std = np.sqrt(np.maximum(0, square / count - mean**2))
    if not (std > 1e-6 * np.maximum(1, np.abs(shift))).all():
        raise ValueError(f"{files[0].path}: channel {int(np.argmin(std))} of the latents is constant; give --scale")
    return shift + mean, std


def write_z(file: Path, sources: Sequence[Latents], mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Write z of all sources to a new .npy file, in their type, and map it. Raises ValueError where z is too large."""
    with ArrayFile(file, sources[0].shape[-3:], sources[0].dtype) as out:
        for source in sources:
            for rows in source.blocks():
                z = (rows - mean[:, None, None].astype(np.float32)) * scale[:, None, None].astype(np.float32)
                with np.errstate(over="ignore"):
                    stored = z.astype(out.dtype)
                if not np.isfinite(stored).all():
                    raise ValueError(f"{source.path}: with this mean and scale z leaves the range of {out.dtype}")
                out.append(stored)
    return map_array(file)


def _read_header(member: Any, path: Path) -> tuple[tuple[int, ...], bool, np.dtype]:
    try:
        version = np.lib.format.read_magic(member)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(member)
    except ValueError as error:
        raise ValueError(f"{path}: latents is damaged: {error}") from None
    return shape, fortran and len(shape) > 1, dtype


def _stated(key: str, given: list[float] | None, files: Sequence[LatentFile], channels: int) -> np.ndarray | None:
    """What the command line says, else the first file, as float64 [C]; None where neither does. Raises ValueError."""
    found = given if given is not None else files[0].small.get(key)
    if found is None:
        return None
    return per_channel(f"--{key}" if given is not None else f"{files[0].path}: {key}", found, channels)


def per_channel(where: str, found: Any, channels: int) -> np.ndarray:
    """A mean, or a scale if `where` ends so, as float64 [C]. Raises ValueError that begins with `where`."""
    values, positive = np.asarray(found), where.endswith("scale")
    if values.dtype.kind not in "fiu" or not np.isfinite(values).all() or (positive and not (values > 0).all()):
        raise ValueError(f"{where} is {values.tolist()}; it must be finite numbers" + (" above 0" * positive))
    if values.size not in (1, channels) or values.ndim > 1:
        raise ValueError(
            f"{where} has the shape {list(values.shape)}; give one number, or one per channel ({channels})"
        )
    return np.broadcast_to(values.astype(np.float64).reshape(-1), (channels,))


def _labels(files: Sequence[LatentFile]) -> np.ndarray | None:
    if "labels" not in files[0].small:
        return None
    return np.concatenate([check_label_array(file.small["labels"], file.shape[0], file.path) for file in files])


def numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number or numbers with commas between") from None

"""Reading and checking the arrays of a data set. Every complaint names the file and says what is right."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

Kind = Literal["image", "points"]
KINDS: dict[str, Kind] = {"images": "image", "latents": "image", "x": "points"}  # name of an array -> kind of its data


@dataclass(frozen=True)
class Split:
    """One split as stored, in memory or mapped into it; `labels` int64 [N] or None.

    `x` is pictures, uint8 [N, H, W, C], their latents, float16 or float32 [N, C, H, W], or points, float32 [N, D].
    """

    x: np.ndarray
    labels: np.ndarray | None

    @property
    def key(self) -> str:
        """Name of the array `x` in files: images, latents or x."""
        return "x" if self.x.ndim == 2 else "images" if self.x.dtype == np.uint8 else "latents"

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays under the names that files give them."""
        arrays = {self.key: self.x}
        return arrays if self.labels is None else arrays | {"labels": self.labels}


def read_split(path: Path) -> tuple[Kind, Split]:
    """Read and check one npz file: `images` [N, H, W, C] or `x` [N, D], and optional `labels` [N].

    Labels are checked to be integers >= 0; which classes there are is `check_labels`' question.
    Raises FileNotFoundError or ValueError.
    """
    arrays = _read_npz(path)
    unknown = sorted(set(arrays) - {"images", "x", "labels"})
    if "latents" in unknown:
        raise ValueError(f"{path} holds latents, which need a scale: `longjump data build latents --from {path}`")
    if unknown:
        raise ValueError(f"{path} holds {_names(unknown)}; a data set has images or x, and optional labels")
    found = [key for key in ("images", "x") if key in arrays]
    if len(found) != 1:
        raise ValueError(
            f"{path} holds {_names(sorted(arrays))}; it needs exactly one of images (uint8 [N, H, W, C]) "
            f"and x (float32 [N, D])"
        )
    key = found[0]
    x = _check_images(arrays[key], path) if key == "images" else _check_points(arrays[key], path)
    labels = arrays.get("labels")
    return KINDS[key], Split(x, None if labels is None else check_label_array(labels, len(x), path))


def check_stored(key: str, x: np.ndarray, file: Path) -> None:
    """Raise ValueError unless an array of a data set folder is of the type that `key` has there; reads no rows.

    The numbers themselves were checked when the folder was built, and are known again by their hash.
    """
    if key == "images":
        _check_images(x, file)
    elif key == "latents":
        check_latents(x, file)
    elif x.dtype != np.float32 or x.ndim != 2 or 0 in x.shape:
        raise ValueError(f"{file} is {x.dtype} {list(x.shape)}; points are stored as float32 [N, D]")


def check_latents(latents: np.ndarray, where: Path | str) -> None:
    """Raise ValueError unless these are float16 or float32 [N, C, H, W]."""
    what = f"{where}: latents is {latents.dtype} {list(latents.shape)}"
    if latents.dtype not in (np.float16, np.float32):
        raise ValueError(f"{what}; it must be float16 or float32, [N, C, H, W]")
    if latents.ndim != 4:
        raise ValueError(f"{what}; it must have 4 dimensions, [N, C, H, W]")
    if 0 in latents.shape:
        raise ValueError(f"{what}; it is empty")


def check_labels(split: Split, classes: Sequence[str], path: Path | str, every_class: bool = True) -> None:
    """Raise ValueError unless all labels are in 0..K-1 and, if asked, each of the K classes has a sample."""
    if split.labels is None:
        if classes:
            raise ValueError(f"{path} has no labels, but {len(classes)} classes are named")
        return
    if not classes:
        raise ValueError(f"{path} has labels, but no classes are named")
    used = np.unique(split.labels)
    if used[-1] >= len(classes):
        row = int(np.argmax(split.labels >= len(classes)))
        raise ValueError(
            f"{path}: labels[{row}] is {split.labels[row]}; there are {len(classes)} classes, "
            f"so labels are 0 to {len(classes) - 1}"
        )
    if every_class and len(used) < len(classes):
        missing = sorted(set(range(len(classes))) - set(used.tolist()))
        shown = ", ".join([f"{label} ({classes[label]})" for label in missing[:5]] + ["..."] * (len(missing) > 5))
        raise ValueError(
            f"{path}: {len(missing)} of {len(classes)} classes have no sample: {shown}; "
            f"every class needs one, and the labels are 0 to K-1 without gaps"
        )


def numbered_classes(labels: np.ndarray | None, path: Path | str) -> list[str]:
    """Names "0".."K-1" for labels that came without names; [] when unlabelled. ValueError for a gap."""
    if labels is None:
        return []
    count = int(labels.max()) + 1
    if count > len(labels):  # before a stray label of 10^12 becomes a list of that length
        raise ValueError(
            f"{path}: the largest label is {count - 1}, but there are only {len(labels)} samples, "
            f"so some class is empty; number the labels 0 to K-1 without gaps"
        )
    return [str(label) for label in range(count)]


def check_classes(classes: Sequence[str], where: Path | str) -> None:
    """Raise ValueError unless a request, which gives a label by index or by name, can mean one class only."""
    for index, name in enumerate(classes):
        if not name or not name.isprintable() or name != name.strip():
            raise ValueError(
                f"{where}: class {index} is named {name!r}; give it a name of printable text without outer spaces"
            )
        if name == "none":
            raise ValueError(f"{where}: class {index} is named 'none', which asks for no class at all")
        if name.lstrip("+-").isdigit() and name != str(index):
            raise ValueError(f"{where}: class {index} is named {name!r}, which reads as another index")
    repeated = sorted({name for name in classes if list(classes).count(name) > 1})
    if repeated:
        raise ValueError(f"{where}: class name {repeated[0]!r} is used twice")


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist")
    if not path.is_file() or not _is_zip(path):
        raise ValueError(f"{path} is not an npz file (a zip of arrays, as numpy.savez writes it)")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
    except ValueError as error:
        if "allow_pickle" in str(error):
            raise ValueError(
                f"{path} holds Python objects (dtype object), which are never loaded; store plain arrays"
            ) from error
        raise ValueError(f"{path} is damaged: {error}") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, MemoryError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    if not all(isinstance(array, np.ndarray) for array in arrays.values()):  # numpy gives other members as bytes
        raise ValueError(f"{path} is not an npz file: it holds files that are not .npy arrays")
    return arrays


def _is_zip(path: Path) -> bool:
    with path.open("rb") as file:  # is_zipfile(path) would answer False to a file that may not be read
        return zipfile.is_zipfile(file)


def _check_images(images: np.ndarray, path: Path) -> np.ndarray:
    what = f"{path}: images is {images.dtype} {list(images.shape)}"
    if images.dtype != np.uint8:
        raise ValueError(f"{what}; it must be uint8, 0 to 255, [N, H, W, C]")
    if images.ndim != 4:
        raise ValueError(f"{what}; it must have 4 dimensions, [N, H, W, C]")
    if images.shape[3] not in (1, 3):
        hint = " (it looks like [N, C, H, W]; transpose it)" if images.shape[1] in (1, 3) else ""
        raise ValueError(f"{what}; the last dimension must be 1 (grey) or 3 (RGB){hint}")
    if 0 in images.shape:
        raise ValueError(f"{what}; it is empty")
    return images


def _check_points(x: np.ndarray, path: Path) -> np.ndarray:
    what = f"{path}: x is {x.dtype} {list(x.shape)}"
    if x.dtype.kind != "f":
        raise ValueError(f"{what}; it must be float32 (or another float type), [N, D]")
    if x.ndim != 2:
        hint = "; for points on a line use x[:, None]" if x.ndim == 1 else ""
        raise ValueError(f"{what}; it must have 2 dimensions, [N, D]{hint}")
    if 0 in x.shape:
        raise ValueError(f"{what}; it is empty")
    with np.errstate(over="ignore"):
        single = x.astype(np.float32)
    finite = np.isfinite(single).all(axis=1)
    if not finite.all():
        row = int(np.argmin(finite))
        raise ValueError(
            f"{path}: x[{row}] is {x[row].tolist()}; every number must be finite in float32 "
            f"({np.count_nonzero(~finite)} of {len(x)} rows are not)"
        )
    return single


def check_label_array(labels: np.ndarray, count: int, path: Path) -> np.ndarray:
    """Labels as int64 [N]. Raises ValueError unless they are `count` integers >= 0."""
    what = f"{path}: labels is {labels.dtype} {list(labels.shape)}"
    if labels.dtype.kind not in "iu":
        raise ValueError(f"{what}; it must be an integer type, [N]")
    if labels.ndim != 1:
        raise ValueError(f"{what}; it must have 1 dimension, [N]")
    if len(labels) != count:
        raise ValueError(f"{what}, but there are {count} samples; give one label per sample")
    wrong = (labels < 0) | (labels > np.iinfo(np.int64).max)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(f"{path}: labels[{row}] is {labels[row]}; labels are 0 to K-1")
    return labels.astype(np.int64)


def _names(keys: Sequence[str]) -> str:
    if not keys:
        return "no arrays"
    return ("the array " if len(keys) == 1 else "the arrays ") + ", ".join(keys)

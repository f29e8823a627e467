"""Pictures as an autoencoder sees them: their latents, computed once, so that training need not run it.

--pictures takes a data set of pictures (a folder of `longjump data build`, or an npz file), --autoencoder the folder of
an AutoencoderKL as diffusers saves it, or as `longjump autoencoder` does. Training sees z = (latents - mean) * scale,
per channel, where latents are the mean of what the encoder gives, nothing drawn. Mean and scale are computed from the
training latents so that each channel of z has the mean 0 and the standard deviation 0.5, that of pictures in [-1, 1],
which the recipes are made for; --scale and --mean say otherwise. Classes, labels and the licence stay the pictures'.

`longjump export` wants the same autoencoder again, for the decoder, and knows it by the SHA-256 in data.json.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trainer.data.arrays import Split
from trainer.data.folder import Built
from trainer.data.latents import RULE, STD, numbers, per_channel, statistics, write_z
from trainer.data.npy import ArrayFile, blocks, map_array

if TYPE_CHECKING:
    from models.autoencoder import Autoencoder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `longjump data build encoded`."""
    parser.add_argument("--pictures", type=Path, required=True, metavar="PATH", help="the data set to encode")
    parser.add_argument("--autoencoder", type=Path, required=True, metavar="FOLDER", help="what encodes it")
    parser.add_argument("--mean", type=numbers, metavar="M,...", help="subtracted, one number or one per channel")
    parser.add_argument("--scale", type=numbers, metavar="S,...", help="multiplied by, one number or one per channel")
    parser.add_argument("--batch", type=int, default=32, metavar="N", help="pictures at a time (default: %(default)s)")
    parser.add_argument("--device", default="cpu", help="a torch device (default: %(default)s)")
    parser.add_argument("--name", help="name of the data set (default: that of the pictures)")


def build(args: argparse.Namespace, folder: Path) -> Built:
    """Encode both splits into the folder, a batch at a time. Raises ValueError and OSError."""
    from models.autoencoder import load_autoencoder
    from trainer.data.dataset import open_dataset

    loaded = load_autoencoder(args.autoencoder)
    dataset = open_dataset(args.pictures)
    if dataset.train.key != "images":
        raise ValueError(f"{args.pictures} holds {dataset.train.key}; only pictures can be encoded")
    height, width, channels = dataset.shape
    config = loaded.autoencoder.config
    if channels != config.in_channels:
        raise ValueError(
            f"{args.pictures} has pictures of {channels} channels, and {args.autoencoder} takes {config.in_channels}"
        )
    shape = config.latent_shape(height, width)
    pictures = {"train": dataset.train} | ({"test": dataset.test} if dataset.test is not None else {})
    raw = {}
    for split, content in pictures.items():
        raw[split] = Encoded(folder / f"{split}.raw.npy", shape)
        encode(loaded.autoencoder.to(args.device), content.x, raw[split].path, shape, args.batch, args.device)
    found_mean, found_std = statistics([raw["train"]])
    mean = found_mean if args.mean is None else per_channel("--mean", args.mean, shape[0])
    scale = STD / found_std if args.scale is None else per_channel("--scale", args.scale, shape[0])
    splits = {}
    for split, content in pictures.items():
        z = write_z(folder / f"{split}.latents.npy", [raw[split]], mean, scale)
        splits[split] = Split(z, None if content.labels is None else np.asarray(content.labels))
        raw[split].path.unlink()
    latents = {
        "rule": RULE,
        "mean": mean.tolist(),
        "scale": scale.tolist(),
        "autoencoder": args.autoencoder.absolute().name,
        "autoencoder_sha256": loaded.sha256,
    }
    kept = {key: value for key, value in dataset.info.items() if key not in OF_THE_ARRAYS}
    info = {**kept, "latents": latents, "pictures": {"shape": list(dataset.shape), "sha256": dataset.sha256}}
    return Built(args.name or dataset.name, "image", dataset.classes, splits, info)


OF_THE_ARRAYS = ("format", "name", "kind", "classes", "shape", "counts", "sha256", "corrupt")
"""Keys of data.json that the pictures' arrays decide, or their reading, and not where they come from."""


STORED = np.dtype(np.float16)
"""How latents are kept: a thousandth of their size is less than the encoder means by them."""


@dataclass(frozen=True)
class Encoded:
    """Latents in a .npy file."""

    path: Path
    shape: tuple[int, ...]
    """Of one picture's latents."""
    dtype: np.dtype = STORED

    def blocks(self) -> Iterator[np.ndarray]:
        """Consecutive rows, float32 [n, C, h, w]."""
        return (rows.astype(np.float32) for rows in blocks(map_array(self.path)))


def encode(
    autoencoder: Autoencoder, pictures: np.ndarray, file: Path, shape: tuple[int, ...], batch: int, device: str
) -> None:
    """Write the latents of pictures uint8 [N, H, W, C] to a new .npy file, float16 [N, *shape].

    Raises:
        ValueError: some are beyond float16, or not numbers.
    """
    import torch
    from tqdm import tqdm

    from trainer.stream import as_z

    with torch.no_grad(), ArrayFile(file, shape, STORED) as out:
        for first in tqdm(range(0, len(pictures), batch), "encode", unit="batch", delay=2):
            rows = torch.from_numpy(np.ascontiguousarray(pictures[first : first + batch])).to(device)
            mean, _ = autoencoder.encode(as_z(rows))
            stored = mean.half().cpu().numpy()
            if not np.isfinite(stored).all():
                raise ValueError(f"the latents of picture {first} or one of the {batch} from there leave float16")
            out.append(stored)

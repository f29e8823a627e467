"""Encoded pictures are the latents that the autoencoder gives, in the pictures' order, and know which one it was."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from models.autoencoder import Autoencoder, AutoencoderConfig, load_autoencoder, save_autoencoder
from trainer.data.arrays import Split
from trainer.data.dataset import open_dataset
from trainer.data.folder import Built, write_dataset

Command = Callable[[str], int]


def autoencoder(folder: Path, channels: int = 3) -> Path:
    torch.manual_seed(0)
    config = AutoencoderConfig(
        in_channels=channels, out_channels=channels, block_out_channels=(8, 8), layers_per_block=1, norm_num_groups=4
    )
    folder.mkdir()
    save_autoencoder(folder, Autoencoder(config))
    return folder


def pictures(folder: Path, sides: tuple[int, int] = (8, 12)) -> Path:
    rng = np.random.default_rng(3)
    train, test = (rng.integers(0, 256, (count, *sides, 3), dtype=np.uint8) for count in (7, 3))
    splits = {"train": Split(train, np.arange(7) % 2), "test": Split(test, np.arange(3) % 2)}
    write_dataset(folder, Built("trees", "image", ["ash", "elm"], splits, {"licence": "CC0-1.0", "credits": {"a": 1}}))
    return folder


def test_latents_are_those_of_the_pictures(tmp_path: Path, data_command: Command) -> None:
    vae, trees = autoencoder(tmp_path / "vae"), pictures(tmp_path / "trees")
    assert data_command(f"build encoded --pictures {trees} --autoencoder {vae} --batch 3 --out made") == 0
    made, source = open_dataset("made"), open_dataset(trees)
    assert made.test is not None
    assert source.test is not None
    assert (made.name, made.kind, made.classes, made.shape) == ("trees", "image", ["ash", "elm"], (4, 4, 6))
    assert (made.info["licence"], made.info["credits"]) == ("CC0-1.0", {"a": 1})
    assert made.info["pictures"] == {"shape": [8, 12, 3], "sha256": source.sha256}
    latents = made.info["latents"]
    weights = (vae / "diffusion_pytorch_model.safetensors").read_bytes()
    assert latents["autoencoder_sha256"] == hashlib.sha256(weights).hexdigest()
    mean, scale = (np.array(latents[key]).reshape(4, 1, 1) for key in ("mean", "scale"))
    for split, of in ((made.train, source.train), (made.test, source.test)):
        assert split.labels is not None
        assert of.labels is not None
        assert split.labels.tolist() == of.labels.tolist()
        x = torch.from_numpy(np.array(of.x)).permute(0, 3, 1, 2).float() / 127.5 - 1
        with torch.no_grad():
            expected, _ = load_autoencoder(vae).autoencoder.encode(x)
        assert split.x.astype(np.float32) / scale + mean == pytest.approx(expected.numpy(), abs=5e-3)
        assert split.x.dtype == np.float16
    z = made.train.x.astype(np.float64)
    assert z.mean(axis=(0, 2, 3)) == pytest.approx(np.zeros(4), abs=1e-3)
    assert z.std(axis=(0, 2, 3)) == pytest.approx(np.full(4, 0.5), abs=1e-3)
    assert sorted(file.name for file in Path("made").iterdir()) == [
        *("data.json", "test.labels.npy", "test.latents.npy", "train.labels.npy", "train.latents.npy")
    ]


def test_own_mean_and_scale_are_taken(tmp_path: Path, data_command: Command) -> None:
    vae, trees = autoencoder(tmp_path / "vae"), pictures(tmp_path / "trees")
    data_command(f"build encoded --pictures {trees} --autoencoder {vae} --mean 0 --scale 0.18215 --out made")
    assert json.loads(Path("made/data.json").read_text())["latents"]["scale"] == [0.18215] * 4


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--pictures odd --autoencoder vae", "pictures of 9x8 cannot be encoded: .* multiples of 2"),
        ("--pictures trees --autoencoder grey-vae", "pictures of 3 channels, and grey-vae takes 1"),
        ("--pictures points.npz --autoencoder vae", "points.npz holds x; only pictures can be encoded"),
        ("--pictures trees --autoencoder trees", r"trees.config\.json does not exist; an autoencoder is a folder"),
        ("--pictures trees --autoencoder vae --scale 0", "--scale is .*; it must be finite numbers above 0"),
        ("--pictures trees --autoencoder vae --scale 1e9", "with this mean and scale z leaves the range of float16"),
    ],
)
def test_what_cannot_be_encoded_leaves_nothing(words: str, said: str, tmp_path: Path, data_command: Command) -> None:
    autoencoder(Path("vae"))
    autoencoder(Path("grey-vae"), channels=1)
    pictures(Path("trees"))
    pictures(Path("odd"), (9, 8))
    np.savez("points.npz", x=np.zeros((4, 2), dtype=np.float32))
    with pytest.raises((ValueError, FileNotFoundError), match=said):
        data_command(f"build encoded {words} --out made")
    assert not [file for file in Path().iterdir() if "made" in file.name]

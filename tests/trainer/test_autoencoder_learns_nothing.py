"""`longjump autoencoder` learns to give pictures back, alike for one seed, or says why not and leaves nothing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from longjump import main
from models.autoencoder import load_autoencoder
from trainer.data.arrays import Split
from trainer.data.folder import Built, write_dataset

SMALL = ("--factor", "2", "--width", "8", "--batch", "8", "--kl", "1e-4")


@pytest.fixture(scope="module")
def blobs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 pictures of 8x8, each of one colour above and another below."""
    rng = np.random.default_rng(0)
    halves = rng.integers(0, 256, (48, 2, 1, 1, 3), dtype=np.uint8)
    images = np.broadcast_to(halves, (48, 2, 4, 8, 3)).reshape(48, 8, 8, 3).copy()
    folder = tmp_path_factory.mktemp("data") / "blobs"
    write_dataset(folder, Built("blobs", "image", [], {"train": Split(images, None)}, {"licence": "CC0-1.0"}))
    return folder


def psnr(folder: Path) -> float:
    return float(json.loads((folder / "metrics.json").read_text())["psnr"])


def test_more_training_gives_pictures_back_better(blobs: Path, tmp_path: Path) -> None:
    for name, steps in (("short", "2"), ("long", "120"), ("again", "2")):
        words = ["autoencoder", str(blobs), "--out", str(tmp_path / name), "--steps", steps, "--lr", "3e-3", *SMALL]
        assert main(words) == 0
    assert psnr(tmp_path / "long") > psnr(tmp_path / "short") + 2
    weights = [(tmp_path / name / "diffusion_pytorch_model.safetensors").read_bytes() for name in ("short", "again")]
    assert weights[0] == weights[1]
    assert (tmp_path / "long" / "samples.png").read_bytes().startswith(b"\x89PNG")
    assert load_autoencoder(tmp_path / "long").autoencoder.config.factor == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--factor", "16"], "multiples of 16"),
        (["--steps", "0"], "--steps must be at least 1, not 0"),
        (["--lr", "-1"], "--lr is above 0"),
    ],
)
def test_what_cannot_be_trained_leaves_nothing(
    words: list[str], said: str, blobs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["autoencoder", str(blobs), "--out", str(tmp_path / "out"), *SMALL, *words]) == 2
    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []

"""Latents train like pictures, the card says what they are, export asks for their decoder: as pixels they are noise."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from export.export import export
from trainer.data.dataset import open_dataset
from trainer.loop import train
from trainer.recipe import Recipe


@pytest.mark.parametrize("channels", [4, 3])
def test_latents_become_a_bundle(
    channels: int, tmp_path: Path, tiny: Callable[..., Recipe], data_command: Callable[[str], int]
) -> None:
    """Also three channels, which could be taken for red, green and blue."""
    latents = np.random.default_rng(0).normal(3, 5, (24, channels, 8, 8)).astype(np.float16)
    np.savez("codes.npz", latents=latents, labels=np.arange(24) % 2)
    data_command("build latents --from codes.npz --autoencoder sd-vae --out made")
    folder = train(tiny("facets/meanflow", "run.steps=2"), open_dataset("made"), tmp_path / "run")
    assert "z is latents of sd-vae: z = (latents - mean) * scale" in (folder / "README.md").read_text()
    wanted = r"step-00000002 makes latents; give the autoencoder that made them, sd-vae: --autoencoder FOLDER"
    with pytest.raises(ValueError, match=wanted):
        export(folder, tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()
    readme = (tmp_path / "run" / "README.md").read_text()
    assert f"longjump export {tmp_path / 'run'} --autoencoder FOLDER --out BUNDLE" in readme

"""A bundle of latents decodes with the autoencoder that made them, and brings pictures back to z with it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from export.export import export
from export.runtime.bundle import Bundle, write_bundle
from export.runtime.engines import open_engine
from export.runtime.images import encode
from export.runtime.noise import normal
from export.runtime.sampler import sample
from longjump import main
from models.autoencoder import Autoencoder, AutoencoderConfig, load_autoencoder, save_autoencoder
from models.checkpoint import load_checkpoint
from models.numpy_jump import numpy_jump
from models.tiny_decoder import TinyConfig, TinyDecoder
from trainer.data.arrays import Split
from trainer.data.dataset import open_dataset
from trainer.data.folder import Built, write_dataset
from trainer.evaluate.generator import from_bundle
from trainer.loop import train
from trainer.recipe import load_recipe

SETTINGS = (
    *("model.network=dit", "model.patch=2", "model.width=16", "model.depth=1", "model.heads=2", "run.batch=8"),
    *("optimiser.warmup_steps=1", "optimiser.decay_steps=1", "run.steps=2", "run.save_every=2", "run.log_every=1"),
    *("run.sample_steps=[1, 2]", "run.score=0"),
)


def autoencoder(folder: Path, seed: int, channels: int = 3) -> Path:
    torch.manual_seed(seed)
    config = AutoencoderConfig(
        in_channels=channels, out_channels=channels, block_out_channels=(8, 8), layers_per_block=1, norm_num_groups=4
    )
    folder.mkdir()
    save_autoencoder(folder, Autoencoder(config))
    return folder


@pytest.fixture(scope="module")
def vae(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return autoencoder(tmp_path_factory.mktemp("vae") / "vae", seed=0)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, vae: Path) -> Path:
    """A checkpoint of latents [4, 4, 6] of pictures 8x12."""
    folder = tmp_path_factory.mktemp("latent")
    pictures = np.random.default_rng(0).integers(0, 256, (24, 8, 12, 3), dtype=np.uint8)
    split = Split(pictures, np.arange(24) % 2)
    write_dataset(folder / "trees", Built("trees", "image", ["ash", "elm"], {"train": split}, {"licence": "CC0-1.0"}))
    words = ["--pictures", str(folder / "trees"), "--autoencoder", str(vae), "--out", str(folder / "made")]
    assert main(["data", "build", "encoded", *words]) == 0
    return train(load_recipe("facets/flow-matching", SETTINGS), open_dataset(folder / "made"), folder / "run")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path, vae: Path) -> Bundle:
    return export(checkpoint, tmp_path_factory.mktemp("bundle") / "latent", autoencoder=vae)


def test_picture_is_that_of_the_checkpoint_and_its_autoencoder(bundle: Bundle, checkpoint: Path, vae: Path) -> None:
    manifest, engine = bundle.manifest, open_engine(bundle)
    assert (manifest.z_shape, manifest.image_shape, manifest.pixels, manifest.encodes) == (
        (4, 4, 6),
        (8, 12, 3),
        False,
        True,
    )
    assert manifest.latents is not None
    assert manifest.latents.factor == 2
    flow_map, _ = load_checkpoint(checkpoint)
    grid, seeds, labels = manifest.grid(2), range(5), [0, 1, 2, 0, 1]
    z = sample(numpy_jump(flow_map), manifest.z_shape, grid, seeds, labels)
    mean, scale = (torch.tensor(each).view(-1, 1, 1) for each in (manifest.latents.mean, manifest.latents.scale))
    with torch.no_grad():
        x = load_autoencoder(vae).autoencoder.decode(torch.from_numpy(z) / scale + mean)
    expected = np.clip(np.round(x.numpy() * 127.5 + 127.5), 0, 255).transpose(0, 2, 3, 1)
    shown = engine.decode(sample(engine.jump, manifest.z_shape, grid, seeds, labels)).astype(int)
    assert np.abs(shown - expected).max() <= 1
    assert np.abs(shown - expected[::-1]).max() > 1  # the negative control: other pictures differ by more


def test_encoder_is_the_way_back(bundle: Bundle, vae: Path) -> None:
    engine, latents = open_engine(bundle), bundle.manifest.latents
    assert latents is not None
    pictures = np.random.default_rng(1).integers(0, 256, (3, 8, 12, 3), dtype=np.uint8)
    mean, scale = (np.array(each, np.float32).reshape(-1, 1, 1) for each in (latents.mean, latents.scale))
    with torch.no_grad():
        expected, _ = load_autoencoder(vae).autoencoder.encode(
            torch.from_numpy(pictures).permute(0, 3, 1, 2) / 127.5 - 1
        )
    z = engine.encode(pictures)
    assert z.dtype == np.float32
    np.testing.assert_allclose(z, (expected.numpy() - mean) * scale, atol=1e-4)


def test_pictures_it_was_made_of_are_another_data_set(bundle: Bundle, checkpoint: Path) -> None:
    """`longjump eval` says whether copies would be seen: by the pictures' hash, since it measures pictures."""
    pictures, latents = (open_dataset(checkpoint.parents[1] / name) for name in ("trees", "made"))
    assert from_bundle(bundle, None, None, None, 1).data == pictures.sha256 != latents.sha256


def test_bundle_without_an_encoder_says_so(bundle: Bundle, tmp_path: Path) -> None:
    fields = bundle.manifest.model_dump(exclude={"files", "digest"})
    kept = {file: bundle.read(file) for file in bundle.manifest.files if not file.startswith("encode.")}
    engine = open_engine(write_bundle(tmp_path / "blind", fields, kept))
    with pytest.raises(ValueError, match="has no encoder"):
        engine.encode(np.zeros((1, 8, 12, 3), np.uint8))


def test_another_autoencoder_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    other = autoencoder(tmp_path / "other", seed=1)
    with pytest.raises(
        ValueError, match="other is not the autoencoder that made the latents: its weights have the SHA"
    ):
        export(checkpoint, tmp_path / "bundle", autoencoder=other)
    assert not (tmp_path / "bundle").exists()


def test_tiny_decoder_takes_the_place_of_the_own(checkpoint: Path, vae: Path, tmp_path: Path) -> None:
    torch.manual_seed(3)
    fields = {"decoder_block_out_channels": [8, 8], "num_decoder_blocks": [1, 1], "latent_channels": 4}
    decoder = TinyDecoder(TinyConfig.model_validate(fields))
    folder = tmp_path / "tiny"
    folder.mkdir()
    weights = {f"decoder.{name}": value for name, value in decoder.state_dict().items()}
    save_file(weights, folder / "diffusion_pytorch_model.safetensors")
    (folder / "config.json").write_text(json.dumps({"_class_name": "AutoencoderTiny", **fields}))
    made = export(checkpoint, tmp_path / "bundle", autoencoder=vae, decoder=folder)
    latents = made.manifest.latents
    assert latents is not None
    assert set(latents.sha256) == {"autoencoder", "decoder"}
    z = np.stack([normal(seed, 0, (4, 4, 6)) for seed in range(3)])
    mean, scale = (torch.tensor(each).view(-1, 1, 1) for each in (latents.mean, latents.scale))
    with torch.no_grad():  # it decodes scaled latents
        x = decoder((torch.from_numpy(z) / scale + mean) * 0.18215).numpy()
    expected = np.clip(np.round(x * 127.5 + 127.5), 0, 255).transpose(0, 2, 3, 1)
    assert np.abs(open_engine(made).decode(z).astype(int) - expected).max() <= 1
    (folder / "config.json").write_text(
        json.dumps(
            {"_class_name": "AutoencoderTiny", **fields, "num_decoder_blocks": [1], "decoder_block_out_channels": [8]}
        )
    )
    with pytest.raises(ValueError, match=r"does not hold the weights|factor 1"):
        export(checkpoint, tmp_path / "again", autoencoder=vae, decoder=folder)


def test_pictures_take_no_autoencoder(vae: Path, tmp_path: Path, checkpoints: dict[str, Path]) -> None:
    with pytest.raises(ValueError, match="makes image data and no latents; it takes no autoencoder or decoder"):
        export(checkpoints["image"], tmp_path / "bundle", autoencoder=vae)


def test_server_varies_an_uploaded_picture(bundle: Bundle, tmp_path: Path) -> None:
    """A variation of strength near 0 is the picture, as the autoencoder gives it back."""
    from server.jobs import Vary
    from server.worker.request import as_sample

    engine = open_engine(bundle)
    picture = np.random.default_rng(2).integers(0, 256, (8, 12, 3), dtype=np.uint8)
    np.testing.assert_array_equal(as_sample(Vary(0.5, picture.tobytes()), engine), engine.encode(picture[None])[0])
    assert encode(engine.decode(engine.encode(picture[None]))[0], "png").startswith(b"\x89PNG")

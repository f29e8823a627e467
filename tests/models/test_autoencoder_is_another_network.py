"""Autoencoders compute what diffusers' do, from its files, and files that are something else are refused in words.

The golden numbers come from diffusers 0.42.1 (AutoencoderKL, AutoencoderTiny), with the weights that `weights` makes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from models.autoencoder import Autoencoder, AutoencoderConfig, load_autoencoder, save_autoencoder
from models.tiny_decoder import TinyConfig, TinyDecoder, load_tiny_decoder

CONFIG = AutoencoderConfig(block_out_channels=(8, 16, 16), layers_per_block=1, norm_num_groups=4)
TINY = {
    "_class_name": "AutoencoderTiny",
    "decoder_block_out_channels": [8, 8, 8],
    "num_decoder_blocks": [2, 1, 1],
    "latent_channels": 4,
    "act_fn": "relu",
    "upsample_fn": "nearest",
    "upsampling_scaling_factor": 2,
}
GOLDEN: dict[str, list[float]] = {
    "mean": [0.264511585, 0.470011562, 0.397954017, 0.004893411],
    "log_variance": [0.455170184, 0.39656949, 0.053291813, 0.026624836],
    "picture": [-0.079890765, -0.019711878, 0.420775145, -0.083955348],
    "tiny": [-1.423825026, 6.4830994607, -2.3406853676, -8.7429494858],
}
"""The first row's values at the places that `some` takes."""


def weights(shapes: dict[str, torch.Size]) -> dict[str, Tensor]:
    """Weights that are a function of their place in the alphabet and their shape."""
    return {
        name: torch.from_numpy(
            np.random.Generator(np.random.Philox(key=place)).standard_normal(tuple(shapes[name])).astype(np.float32) / 5
        )
        for place, name in enumerate(sorted(shapes))
    }


def pictures() -> Tensor:
    return torch.from_numpy(np.random.Generator(np.random.Philox(key=99)).uniform(-1, 1, (2, 3, 16, 16))).float()


def latents() -> Tensor:
    return torch.from_numpy(np.random.Generator(np.random.Philox(key=98)).standard_normal((2, 4, 4, 4))).float()


def some(x: Tensor) -> list[float]:
    flat = x[0].flatten()
    return flat[:: len(flat) // 4][:4].tolist()


def shapes(module: torch.nn.Module) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in module.state_dict().items()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An autoencoder with the golden weights, as files."""
    autoencoder = Autoencoder(CONFIG)
    autoencoder.load_state_dict(weights(shapes(autoencoder)))
    save_autoencoder(tmp_path, autoencoder)
    return tmp_path


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    folder = tmp_path / "tiny"
    folder.mkdir()
    decoder = TinyDecoder(TinyConfig.model_validate(TINY))
    named = weights({f"decoder.{name}": shape for name, shape in shapes(decoder).items()})
    save_file(named | {"encoder.layers.0.weight": torch.zeros(1)}, folder / "diffusion_pytorch_model.safetensors")
    (folder / "config.json").write_text(json.dumps(TINY))
    return folder


def test_numbers_are_those_of_diffusers(folder: Path, tiny: Path) -> None:
    autoencoder = load_autoencoder(folder).autoencoder
    with torch.no_grad():
        mean, log_variance = autoencoder.encode(pictures())
        picture = autoencoder.decode(latents())
        small = load_tiny_decoder(tiny)[0](latents())
    found = {"mean": mean, "log_variance": log_variance, "picture": picture, "tiny": small}
    assert {name: tuple(x.shape) for name, x in found.items()} == {
        "mean": (2, 4, 4, 4),
        "log_variance": (2, 4, 4, 4),
        "picture": (2, 3, 16, 16),
        "tiny": (2, 3, 16, 16),
    }
    for name, x in found.items():
        assert some(x) == pytest.approx(GOLDEN[name], abs=2e-5), name
    other = Autoencoder(CONFIG)  # the negative control: the same network, other weights
    other.load_state_dict({name: value * 1.01 for name, value in autoencoder.state_dict().items()})
    with torch.no_grad():
        assert some(other.decode(latents())) != pytest.approx(GOLDEN["picture"], abs=2e-5)


def test_old_names_of_the_attention_are_read(folder: Path) -> None:
    """Stable Diffusion's own files are from before diffusers 0.17, and some have 1x1 convolutions there."""
    file = folder / "diffusion_pytorch_model.safetensors"
    new = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    old = {}
    for name, value in load_autoencoder(folder).autoencoder.state_dict().items():
        renamed = name
        for now, then in new.items():
            renamed = renamed.replace(f".attentions.0.{now}.", f".attentions.0.{then}.")
        old[renamed] = value[..., None, None].contiguous() if renamed != name and value.ndim == 2 else value
    assert any(".query." in name for name in old)
    save_file(old, file)
    with torch.no_grad():
        assert some(load_autoencoder(folder).autoencoder.decode(latents())) == pytest.approx(
            GOLDEN["picture"], abs=2e-5
        )


def test_what_was_saved_is_read_back(folder: Path) -> None:
    assert load_autoencoder(folder).autoencoder.config == CONFIG.model_copy(
        update={"down_block_types": ("DownEncoderBlock2D",) * 3, "up_block_types": ("UpDecoderBlock2D",) * 3}
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"_class_name": "VQModel"}, "is of VQModel; the autoencoders that are read here are AutoencoderKL"),
        ({"act_fn": "gelu"}, "act_fn: Input should be 'silu'"),
        ({"block_out_channels": [6, 8, 8]}, "6 channels do not make 4 equal groups"),
        ({"block_out_channels": [8, 8, 8]}, "does not hold the weights that config.json describes"),
        ({"down_block_types": ["AttnDownEncoderBlock2D"] * 3}, "down_block_types"),
    ],
)
def test_another_network_is_refused(folder: Path, change: dict[str, Any], said: str) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(ValueError, match=said):
        load_autoencoder(folder)


def test_missing_files_are_named(folder: Path, tiny: Path) -> None:
    with pytest.raises(ValueError, match=r"tiny.config\.json: it is of AutoencoderKL|AutoencoderTiny"):
        load_tiny_decoder(folder)
    with pytest.raises(ValueError, match="is of AutoencoderTiny"):
        load_autoencoder(tiny)
    (folder / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"diffusion_pytorch_model\.safetensors does not exist"):
        load_autoencoder(folder)


def test_odd_sides_are_refused() -> None:
    assert CONFIG.latent_shape(16, 24) == (4, 4, 6)
    with pytest.raises(ValueError, match="sides that are multiples of 4"):
        CONFIG.latent_shape(30, 32)

"""A small decoder in place of an autoencoder's own: AutoencoderTiny in the layout of diffusers, as TAESD has it.

TAESD (github.com/madebyollin/taesd) was distilled from Stable Diffusion's decoder. It decodes *scaled* latents,
(latents - shift_factor) * scaling_factor of the autoencoder it stands in for. Only the decoder is read.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, ValidationError, model_validator
from torch import Tensor, nn

from models.autoencoder import CONFIG_FILE, WEIGHTS
from models.checkpoint import read_weights


class TinyConfig(BaseModel):
    """The fields of diffusers' config.json that say what the decoder computes; others are not looked at."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    out_channels: PositiveInt = 3
    latent_channels: PositiveInt = 4
    decoder_block_out_channels: tuple[PositiveInt, ...] = Field((64, 64, 64, 64), min_length=1)
    num_decoder_blocks: tuple[PositiveInt, ...] = Field((3, 3, 3, 1), min_length=1)
    act_fn: Literal["relu"] = "relu"
    upsample_fn: Literal["nearest"] = "nearest"
    upsampling_scaling_factor: Literal[2] = 2
    scaling_factor: PositiveFloat = 1.0

    @model_validator(mode="after")
    def _of_one_length(self) -> TinyConfig:
        if len(self.num_decoder_blocks) != len(self.decoder_block_out_channels):
            raise ValueError("num_decoder_blocks and decoder_block_out_channels need one entry for each level")
        return self

    @property
    def factor(self) -> int:
        """Pixels of a picture's side for each of its latents'."""
        return int(2 ** (len(self.num_decoder_blocks) - 1))


class _Block(nn.Module):
    """Three convolutions beside the identity, ReLU after the sum."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(channels, channels, 3, padding=1) for _ in range(3)]
        self.conv = nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2])

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.conv(x) + x)


class TinyDecoder(nn.Module):
    """Scaled latents [B, C, h, w] to pictures [B, 3, f h, f w], about [-1, 1]."""

    def __init__(self, config: TinyConfig) -> None:
        super().__init__()
        self.config = config
        widths, last = config.decoder_block_out_channels, len(config.num_decoder_blocks) - 1
        layers: list[nn.Module] = [nn.Conv2d(config.latent_channels, widths[0], 3, padding=1), nn.ReLU()]
        for level, (blocks, width) in enumerate(zip(config.num_decoder_blocks, widths, strict=True)):
            layers += [_Block(width) for _ in range(blocks)]
            if level < last:
                layers += [nn.Upsample(scale_factor=2), nn.Conv2d(width, width, 3, padding=1, bias=False)]
            else:
                layers.append(nn.Conv2d(width, config.out_channels, 3, padding=1))
        self.layers = nn.Sequential(*layers)

    def forward(self, latents: Tensor) -> Tensor:
        """Out-of-range latents are pressed into (-3, 3) first."""
        y: Tensor = self.layers(torch.tanh(latents / 3) * 3)
        return y * 2 - 1


def load_tiny_decoder(folder: Path) -> tuple[TinyDecoder, str]:
    """The decoder of a folder that diffusers wrote for AutoencoderTiny, and the SHA-256 of its weights file.

    Raises:
        FileNotFoundError, ValueError: names the file, and what it should be.
    """
    config_file, weights_file = folder / CONFIG_FILE, folder / f"{WEIGHTS}.safetensors"
    for file in (config_file, weights_file):
        if not file.is_file():
            raise FileNotFoundError(
                f"{file} does not exist; a tiny decoder is a folder with {CONFIG_FILE} and {WEIGHTS}.safetensors, as "
                "diffusers saves AutoencoderTiny"
            )
    try:
        found = json.loads(config_file.read_bytes())
        kind = found.get("_class_name") if isinstance(found, dict) else None
        if kind != "AutoencoderTiny":
            raise ValueError(f"it is of {kind or 'no class'}, and a tiny decoder is AutoencoderTiny")
        decoder = TinyDecoder(TinyConfig.model_validate(found))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "config"
        raise ValueError(f"{config_file}: {where}: {first['msg'].removeprefix('Value error, ')}") from None
    except ValueError as error:
        raise ValueError(f"{config_file}: {error}") from None
    part = "decoder."
    weights = {name.removeprefix(part): x for name, x in read_weights(weights_file).items() if name.startswith(part)}
    try:
        decoder.load_state_dict({name: value.float() for name, value in weights.items()})
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"{weights_file} does not hold the weights that {CONFIG_FILE} describes ({reason})") from None
    return decoder.eval().requires_grad_(False), hashlib.sha256(weights_file.read_bytes()).hexdigest()

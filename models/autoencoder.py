"""Autoencoders of latent models: AutoencoderKL in the layout of diffusers, as Stable Diffusion's f8 VAE has it.

Rombach et al. (arXiv 2112.10752, section 3.1 and appendix G). A folder holds `config.json` and
`diffusion_pytorch_model.safetensors`: what diffusers writes is read here, and what is written here is read there.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError, model_validator
from torch import Tensor, nn

from models.checkpoint import read_weights, write_weights

CONFIG_FILE = "config.json"
WEIGHTS = "diffusion_pytorch_model"
EPS = 1e-6
"""Of every group normalisation."""

_OLD_NAMES = {".query.": ".to_q.", ".key.": ".to_k.", ".value.": ".to_v.", ".proj_attn.": ".to_out.0."}
"""Names of the attention's weights in files of diffusers before 0.17 (Stable Diffusion's own are such) -> of today."""


class AutoencoderConfig(BaseModel):
    """The fields of diffusers' config.json that say what the network computes; others are not looked at."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    in_channels: PositiveInt = 3
    out_channels: PositiveInt = 3
    latent_channels: PositiveInt = 4
    block_out_channels: tuple[PositiveInt, ...] = Field((128, 256, 512, 512), min_length=1)
    layers_per_block: PositiveInt = 2
    norm_num_groups: PositiveInt = 32
    act_fn: Literal["silu"] = "silu"
    mid_block_add_attention: bool = True
    use_quant_conv: bool = True
    use_post_quant_conv: bool = True
    scaling_factor: float | None = Field(0.18215, gt=0)
    """What latents are multiplied by for a generator of theirs; None: not said."""
    shift_factor: float | None = None
    """What is subtracted from them before."""
    down_block_types: tuple[Literal["DownEncoderBlock2D"], ...] | None = None
    up_block_types: tuple[Literal["UpDecoderBlock2D"], ...] | None = None

    @model_validator(mode="after")
    def _groups_fit(self) -> AutoencoderConfig:
        for channels in self.block_out_channels:
            if channels % self.norm_num_groups:
                raise ValueError(f"{channels} channels do not make {self.norm_num_groups} equal groups")
        return self

    @property
    def factor(self) -> int:
        """Pixels of a picture's side for each of its latents': 8 for Stable Diffusion's."""
        return int(2 ** (len(self.block_out_channels) - 1))

    def latent_shape(self, height: int, width: int) -> tuple[int, int, int]:
        """[C, H, W] of the latents of a picture; ValueError where its sides are no multiples of `factor`."""
        if height % self.factor or width % self.factor:
            raise ValueError(
                f"pictures of {height}x{width} cannot be encoded: this autoencoder needs sides that are multiples of "
                f"{self.factor}"
            )
        return self.latent_channels, height // self.factor, width // self.factor


class Residual(nn.Module):
    """Two convolutions beside the identity, each after group norm and SiLU."""

    def __init__(self, inputs: int, outputs: int, groups: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, inputs, EPS)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.norm2 = nn.GroupNorm(groups, outputs, EPS)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else None

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, H, W] -> [B, outputs, H, W]."""
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(self.norm2(h)))
        y: Tensor = h + (x if self.conv_shortcut is None else self.conv_shortcut(x))
        return y


class Attention(nn.Module):
    """Self-attention over all places, one head, beside the identity."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.group_norm = nn.GroupNorm(groups, channels, EPS)
        self.to_q = nn.Linear(channels, channels)
        self.to_k = nn.Linear(channels, channels)
        self.to_v = nn.Linear(channels, channels)
        self.to_out = nn.ModuleList([nn.Linear(channels, channels)])

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> the same shape."""
        h = self.group_norm(x).flatten(2).transpose(1, 2)[:, None]  # [B, one head, places, C]
        h = F.scaled_dot_product_attention(self.to_q(h), self.to_k(h), self.to_v(h))
        h = self.to_out[0](h)[:, 0].transpose(1, 2).reshape(x.shape)
        return x + h


class Middle(nn.Module):
    """Where the picture is smallest: residual, attention, residual."""

    def __init__(self, channels: int, groups: int, attention: bool) -> None:
        super().__init__()
        self.resnets = nn.ModuleList([Residual(channels, channels, groups) for _ in range(2)])
        self.attentions = nn.ModuleList([Attention(channels, groups)] if attention else [])

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> the same shape."""
        x = self.resnets[0](x)
        for attention in self.attentions:
            x = attention(x)
        y: Tensor = self.resnets[1](x)
        return y


class Downsampler(nn.Module):
    """Halves the sides. The padding is below and to the right only."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, H / 2, W / 2]."""
        y: Tensor = self.conv(F.pad(x, (0, 1, 0, 1)))
        return y


class Upsampler(nn.Module):
    """Doubles the sides: each place four times, then a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, 2 H, 2 W]."""
        y: Tensor = self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return y


class Level(nn.Module):
    """One size of the picture: residuals, and for all but the last level a change of size."""

    def __init__(
        self, inputs: int, outputs: int, layers: int, groups: int, change: Literal["down", "up"] | None
    ) -> None:
        super().__init__()
        sizes = [inputs] + [outputs] * layers
        self.resnets = nn.ModuleList([Residual(before, outputs, groups) for before in sizes[:-1]])
        if change == "down":
            self.downsamplers = nn.ModuleList([Downsampler(outputs)])
        elif change == "up":
            self.upsamplers = nn.ModuleList([Upsampler(outputs)])
        self._change = None if change is None else f"{change}samplers"

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, H, W] -> [B, outputs, H', W']."""
        for resnet in self.resnets:
            x = resnet(x)
        return x if self._change is None else getattr(self, self._change)[0](x)


class Encoder(nn.Module):
    """A picture to the mean and log-variance of its latents."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        channels, groups = config.block_out_channels, config.norm_num_groups
        self.conv_in = nn.Conv2d(config.in_channels, channels[0], 3, padding=1)
        last = len(channels) - 1
        self.down_blocks = nn.ModuleList(
            [
                Level(before, after, config.layers_per_block, groups, "down" if level < last else None)
                for level, (before, after) in enumerate(zip((channels[0], *channels), channels))
            ]
        )
        self.mid_block = Middle(channels[-1], groups, config.mid_block_add_attention)
        self.conv_norm_out = nn.GroupNorm(groups, channels[-1], EPS)
        self.conv_out = nn.Conv2d(channels[-1], 2 * config.latent_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, 3, H, W] -> [B, 2 C, H / f, W / f]."""
        x = self.conv_in(x)
        for block in self.down_blocks:
            x = block(x)
        y: Tensor = self.conv_out(F.silu(self.conv_norm_out(self.mid_block(x))))
        return y


class Decoder(nn.Module):
    """Latents to a picture."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        channels, groups = config.block_out_channels[::-1], config.norm_num_groups
        self.conv_in = nn.Conv2d(config.latent_channels, channels[0], 3, padding=1)
        self.mid_block = Middle(channels[0], groups, config.mid_block_add_attention)
        last = len(channels) - 1
        self.up_blocks = nn.ModuleList(
            [
                Level(before, after, config.layers_per_block + 1, groups, "up" if level < last else None)
                for level, (before, after) in enumerate(zip((channels[0], *channels), channels))
            ]
        )
        self.conv_norm_out = nn.GroupNorm(groups, channels[-1], EPS)
        self.conv_out = nn.Conv2d(channels[-1], config.out_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H / f, W / f] -> [B, 3, H, W]."""
        x = self.mid_block(self.conv_in(x))
        for block in self.up_blocks:
            x = block(x)
        y: Tensor = self.conv_out(F.silu(self.conv_norm_out(x)))
        return y


class Autoencoder(nn.Module):
    """Pictures in [-1, 1] to latents and back. Latents here are as the encoder gives them, before any scaling."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        latent = config.latent_channels
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.quant_conv = nn.Conv2d(2 * latent, 2 * latent, 1) if config.use_quant_conv else None
        self.post_quant_conv = nn.Conv2d(latent, latent, 1) if config.use_post_quant_conv else None

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of the latents, each [B, C, H / f, W / f], of pictures x [B, 3, H, W] in [-1, 1]."""
        moments = self.encoder(x)
        if self.quant_conv is not None:
            moments = self.quant_conv(moments)
        mean, log_variance = moments.chunk(2, dim=1)
        return mean, log_variance.clamp(-30.0, 20.0)

    def decode(self, latents: Tensor) -> Tensor:
        """Pictures [B, 3, H, W], about [-1, 1], of latents [B, C, H / f, W / f]."""
        x: Tensor = self.decoder(latents if self.post_quant_conv is None else self.post_quant_conv(latents))
        return x


@dataclass(frozen=True)
class LoadedAutoencoder:
    """An autoencoder in evaluation mode, without gradient, and which one it is."""

    autoencoder: Autoencoder
    sha256: str
    """Of its weights file."""


def load_autoencoder(folder: Path) -> LoadedAutoencoder:
    """Read a folder of config.json and diffusion_pytorch_model.safetensors.

    Raises:
        FileNotFoundError, ValueError: names the file, and what it should be.
    """
    config_file, weights_file = folder / CONFIG_FILE, folder / f"{WEIGHTS}.safetensors"
    for file in (config_file, weights_file):
        if not file.is_file():
            raise FileNotFoundError(
                f"{file} does not exist; an autoencoder is a folder with {CONFIG_FILE} and {WEIGHTS}.safetensors, as "
                "diffusers saves AutoencoderKL"
            )
    weights = {_new_name(name): value for name, value in read_weights(weights_file).items()}
    autoencoder = Autoencoder(_read_config(config_file))
    # The attention of old files is 1x1 convolutions: the same numbers in another shape.
    shapes = {name: value.shape for name, value in autoencoder.state_dict().items()}
    weights = {
        name: value.reshape(shapes[name]) if name in shapes and value.shape == (*shapes[name], 1, 1) else value
        for name, value in weights.items()
    }
    try:
        autoencoder.load_state_dict({name: value.float() for name, value in weights.items()})
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"{weights_file} does not hold the weights that {CONFIG_FILE} describes ({reason})") from None
    sha256 = hashlib.sha256(weights_file.read_bytes()).hexdigest()
    return LoadedAutoencoder(autoencoder.eval().requires_grad_(False), sha256)


def save_autoencoder(folder: Path, autoencoder: Autoencoder) -> None:
    """Write it as diffusers would, into a folder that is there and has none yet. Raises OSError."""
    levels = len(autoencoder.config.block_out_channels)
    fields = {
        "_class_name": "AutoencoderKL",
        **autoencoder.config.model_dump(mode="json"),
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
    }
    write_weights(folder, WEIGHTS, autoencoder.state_dict())
    (folder / CONFIG_FILE).write_text(json.dumps(fields, indent=2) + "\n", "utf-8")


def _new_name(name: str) -> str:
    for old, new in _OLD_NAMES.items():
        name = name.replace(old, new)
    return name


def _read_config(file: Path) -> AutoencoderConfig:
    try:
        found = json.loads(file.read_bytes())
    except ValueError as error:
        raise ValueError(f"{file} is not JSON: {error}") from None
    kind = found.get("_class_name") if isinstance(found, dict) else None
    if kind != "AutoencoderKL":
        raise ValueError(f"{file} is of {kind or 'no class'}; the autoencoders that are read here are AutoencoderKL")
    try:
        return AutoencoderConfig.model_validate(found)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "config"
        raise ValueError(f"{file}: {where}: {first['msg'].removeprefix('Value error, ')}") from None

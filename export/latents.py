"""The graphs that lead between a latent model's z and pictures, by torch's exporter.

    decode  z -> latents = z / scale + mean -> the decoder -> u8 [B, H, W, 3]
    encode  u8 [B, H, W, 3] -> [-1, 1] -> the mean of the encoder's latents -> z = (latents - mean) * scale

A tiny decoder takes what diffusers calls scaled latents: (latents - shift_factor) * scaling_factor.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from export.check import TOLERANCE
from export.graph import serialise
from export.runtime.engines.session import open_session
from export.runtime.sampler import noise_rows
from models.autoencoder import Autoencoder, load_autoencoder
from models.tiny_decoder import TinyDecoder, load_tiny_decoder


@dataclass(frozen=True)
class LatentGraphs:
    """What a bundle of a latent model has besides its jump."""

    decode: bytes
    encode: bytes
    image_shape: tuple[int, int, int]
    """[H, W, 3]."""
    described: dict[str, Any]
    """For the manifest: the rule's numbers, and which networks these are."""


def build_latent_graphs(
    latents: Mapping[str, Any], z_shape: tuple[int, ...], folder: Path, tiny: Path | None = None
) -> LatentGraphs:
    """Decoder and encoder of a checkpoint's latents.

    Args:
        latents: what data.json says of them: mean, scale, and which autoencoder made them.
        z_shape: [C, h, w].
        folder: the autoencoder, see `models.autoencoder.load_autoencoder`.
        tiny: a decoder in place of its own, see `models.tiny_decoder.load_tiny_decoder`.

    Raises:
        ValueError, FileNotFoundError: it is not the autoencoder that made the latents, or does not fit them.
    """
    loaded = load_autoencoder(folder)
    autoencoder, config = loaded.autoencoder, loaded.autoencoder.config
    expected = latents.get("autoencoder_sha256")  # not known of latents that were made elsewhere
    if expected not in (None, loaded.sha256):
        raise ValueError(
            f"{folder} is not the autoencoder that made the latents: its weights have the SHA-256 {loaded.sha256}, "
            f"those of {latents['autoencoder']} have {expected}"
        )
    if z_shape[0] != config.latent_channels:
        raise ValueError(
            f"{folder} makes latents of {config.latent_channels} channels, and the checkpoint's have {z_shape[0]}"
        )
    decoder: nn.Module = _Own(autoencoder)
    sha256: dict[str, str] = {"autoencoder": loaded.sha256}
    if tiny is not None:
        small, sha256["decoder"] = load_tiny_decoder(tiny)
        if (small.config.latent_channels, small.config.factor) != (config.latent_channels, config.factor):
            raise ValueError(
                f"{tiny} decodes latents of {small.config.latent_channels} channels and factor {small.config.factor}, "
                f"and {folder} makes {config.latent_channels} channels, factor {config.factor}"
            )
        decoder = _Tiny(small, config.scaling_factor or 1.0, config.shift_factor or 0.0)
    mean, scale = (_per_channel(latents[key], z_shape[0]) for key in ("mean", "scale"))
    height, width = (side * config.factor for side in z_shape[1:])
    z = torch.from_numpy(noise_rows(range(3), 0, z_shape))
    pictures = torch.randint(
        0, 256, (3, height, width, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    return LatentGraphs(
        decode=_checked(
            _Decode(decoder, mean, scale), {"z": z}, "image", within=1
        ),  # a level, where halves are rounded
        encode=_checked(_Encode(autoencoder, mean, scale), {"image": pictures}, "z", within=TOLERANCE),
        image_shape=(height, width, 3),
        described={
            "mean": mean.flatten().tolist(),
            "scale": scale.flatten().tolist(),
            "factor": config.factor,
            "autoencoder": latents.get("autoencoder"),
            "sha256": sha256,
        },
    )


class _Own(nn.Module):
    """An autoencoder's own decoder, from latents."""

    def __init__(self, autoencoder: Autoencoder) -> None:
        super().__init__()
        self.autoencoder = autoencoder

    def forward(self, latents: Tensor) -> Tensor:
        return self.autoencoder.decode(latents)


class _Tiny(nn.Module):
    """A tiny decoder, from latents."""

    def __init__(self, decoder: TinyDecoder, factor: float, shift: float) -> None:
        super().__init__()
        self.decoder, self.factor, self.shift = decoder, factor, shift

    def forward(self, latents: Tensor) -> Tensor:
        y: Tensor = self.decoder((latents - self.shift) * self.factor)
        return y


class _Decode(nn.Module):
    """z f32 [B, C, h, w] -> u8 [B, H, W, 3]."""

    mean: Tensor
    scale: Tensor

    def __init__(self, decoder: nn.Module, mean: Tensor, scale: Tensor) -> None:
        super().__init__()
        self.decoder = decoder
        self.register_buffer("mean", mean)
        self.register_buffer("scale", scale)

    def forward(self, z: Tensor) -> Tensor:
        x = self.decoder(z / self.scale + self.mean)
        pixels = (x * 127.5 + 127.5).clamp(0, 255).round().permute(0, 2, 3, 1)
        if pixels.shape[3] == 1:
            pixels = pixels.repeat(1, 1, 1, 3)
        return pixels.to(torch.uint8)


class _Encode(nn.Module):
    """u8 [B, H, W, 3] -> z f32 [B, C, h, w]; grey is the luma of Rec. 601."""

    mean: Tensor
    scale: Tensor

    def __init__(self, autoencoder: Autoencoder, mean: Tensor, scale: Tensor) -> None:
        super().__init__()
        self.autoencoder = autoencoder
        self.register_buffer("mean", mean)
        self.register_buffer("scale", scale)

    def forward(self, image: Tensor) -> Tensor:
        x = image.to(torch.float32).permute(0, 3, 1, 2)
        if self.autoencoder.config.in_channels == 1:
            x = 0.299 * x[:, 0:1] + 0.587 * x[:, 1:2] + 0.114 * x[:, 2:3]
        latents, _ = self.autoencoder.encode(x / 127.5 - 1)
        return (latents - self.mean) * self.scale


def _checked(module: nn.Module, examples: dict[str, Tensor], output: str, within: float) -> bytes:
    """A module's graph, whose values for one and for all of the examples are the module's. Raises ValueError."""
    graph = serialise(module, {name: rows[:2] for name, rows in examples.items()}, output)
    session = open_session(graph, f"the graph that gives {output}")
    for rows in (1, 3):
        inputs = {name: each[:rows] for name, each in examples.items()}
        with torch.no_grad():
            expected = module(*inputs.values()).double().numpy()
        found = session.run([output], {name: each.numpy() for name, each in inputs.items()})[0]
        apart = float(np.abs(found - expected).max())
        if not apart <= within:
            raise ValueError(f"the graph that gives {output} differs from the network by {apart:.3g}, above {within:g}")
    return graph


def _per_channel(values: Any, channels: int) -> Tensor:
    """[C, 1, 1] of a number, or of one for each channel."""
    return torch.as_tensor(values, dtype=torch.float32).reshape(-1, 1, 1).expand(channels, 1, 1).clone()

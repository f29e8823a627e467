"""Train a small autoencoder of pictures: the first stage of a latent model.

What it writes is a folder in diffusers' layout of AutoencoderKL, with a grid of pictures and what became of them. It is
there where no autoencoder for your pictures is: mean absolute error and a little Kullback-Leibler term, no perceptual
or adversarial loss, so that fine texture comes out softer than from Stable Diffusion's, which works here as well.

    longjump autoencoder runs/facets --out runs/vae
    longjump data build encoded --pictures runs/facets --autoencoder runs/vae --out runs/latents
    longjump train facets/meanflow --data runs/latents --out runs/latent
    longjump export runs/latent --autoencoder runs/vae --out latent-bundle
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from models.autoencoder import Autoencoder
    from trainer.data.dataset import Dataset

SHOWN = 16
"""Pictures of the grid."""

SCORED = 256
"""Pictures that the error is taken over, at most."""

HORIZON = 0.05
"""Of the averaged weights, which are the ones that are kept; a share of the run, see `trainer.ema`."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `longjump autoencoder`."""
    parser.add_argument("pictures", type=Path, metavar="PICTURES", help="a data set of pictures, folder or npz file")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="the folder to make")
    size = parser.add_argument_group("size")
    size.add_argument(
        "--factor", type=int, choices=(2, 4, 8, 16), default=4, help="pixels of a side for each latent (default: 4)"
    )
    size.add_argument("--channels", type=int, default=4, metavar="C", help="of the latents (default: %(default)s)")
    size.add_argument(
        "--width", type=int, default=32, metavar="N", help="of the network at full size (default: %(default)s)"
    )
    training = parser.add_argument_group("training")
    training.add_argument("--steps", type=int, default=4000, metavar="N", help="(default: %(default)s)")
    training.add_argument("--batch", type=int, default=32, metavar="N", help="(default: %(default)s)")
    training.add_argument("--lr", type=float, default=1e-3, help="the highest learning rate (default: %(default)s)")
    training.add_argument("--kl", type=float, default=1e-4, help="weight of the Kullback-Leibler term "
                          "(default: %(default)s); more of it makes latents smoother and pictures softer")  # fmt: skip
    training.add_argument("--seed", type=int, default=0, help="(default: %(default)s)")
    training.add_argument("--device", help="a torch device (default: cuda where there is one, else cpu)")


def run(args: argparse.Namespace) -> int:
    """Train and write the folder, all or nothing; 0, or ValueError and OSError for the person who asked."""
    import torch

    from models.autoencoder import save_autoencoder
    from trainer.data.dataset import open_dataset
    from trainer.data.folder import new_folder

    for name, least in (("channels", 1), ("width", 1), ("steps", 1), ("batch", 1)):
        if getattr(args, name) < least:
            raise ValueError(f"--{name} must be at least {least}, not {getattr(args, name)}")
    if not (0 < args.lr <= 1 and 0 <= args.kl <= 1):
        raise ValueError(f"--lr is above 0 and --kl from 0, both to 1, not {args.lr:g} and {args.kl:g}")
    dataset = open_dataset(args.pictures)
    if dataset.train.key != "images":
        raise ValueError(f"{args.pictures} holds {dataset.train.key}; an autoencoder here is one of pictures")
    device = torch.device(args.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    with new_folder(args.out) as folder:
        autoencoder = fit(dataset, args, device)
        save_autoencoder(folder, autoencoder)
        found = score(autoencoder, dataset, device)
        text = json.dumps(
            {**found, "data": dataset.name, "sha256": dataset.sha256, "settings": _settings(args)}, indent=2
        )
        (folder / "metrics.json").write_text(text + "\n", "utf-8")
        (folder / "samples.png").write_bytes(grid(autoencoder, dataset, device))
    print(
        f"wrote {args.out}: {found['psnr']:.2f} dB PSNR on {found['pictures']} pictures of the {found['split']} split"
    )
    print(f"next: longjump data build encoded --pictures {args.pictures} --autoencoder {args.out} --out LATENTS")
    return 0


def fit(dataset: Dataset, args: argparse.Namespace, device: torch.device) -> Autoencoder:
    """Train one; its averaged weights, in evaluation mode.

    The loss is mean |x - decode(latents)| + kl * mean KL(N(mean, variance) || N(0, 1)), with latents drawn from
    N(mean, variance) (Kingma & Welling, arXiv 1312.6114).

    Raises:
        ValueError: the pictures' sides are no multiples of the factor, or the loss is not finite any more.
    """
    import torch
    from tqdm import trange

    from models.autoencoder import Autoencoder, AutoencoderConfig
    from trainer.ema import PowerEMA
    from trainer.schedule import Schedule
    from trainer.shard import Shard
    from trainer.stream import Stream

    levels = int(math.log2(args.factor)) + 1
    widths = tuple(args.width * min(2**level, 4) for level in range(levels))
    channels = dataset.shape[2]
    config = AutoencoderConfig(
        in_channels=channels,
        out_channels=channels,
        latent_channels=args.channels,
        block_out_channels=widths,
        layers_per_block=1,
        norm_num_groups=math.gcd(32, max(1, args.width // 4)),
        scaling_factor=None,
    )
    config.latent_shape(*dataset.shape[:2])
    torch.manual_seed(args.seed)
    autoencoder = Autoencoder(config).to(device)
    stream = Stream(dataset, args.batch, args.seed, device)
    optimiser = torch.optim.AdamW(autoencoder.parameters(), args.lr, betas=(0.9, 0.99), weight_decay=0.0)
    schedule = Schedule(lr=args.lr, schedule="cosine", warmup_steps=min(100, args.steps // 10))
    average = PowerEMA(autoencoder, HORIZON)
    draws = torch.Generator(device).manual_seed(args.seed)
    progress = trange(1, args.steps + 1, desc="autoencoder", unit="step", mininterval=1)
    for step in progress:
        x, _ = stream.fetch(step, Shard())
        mean, log_variance = autoencoder.encode(x)
        noise = torch.randn(mean.shape, generator=draws, device=device)
        error = (autoencoder.decode(mean + (0.5 * log_variance).exp() * noise) - x).abs().mean()
        divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
        loss = error + args.kl * divergence
        if step % 50 == 1 and not torch.isfinite(loss):
            raise ValueError(f"the loss is not finite after {step} steps; try a smaller --lr (it was {args.lr:g})")
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(autoencoder.parameters(), 1.0)
        for group in optimiser.param_groups:
            group["lr"] = schedule.rate(step, args.steps)
        optimiser.step()
        average.update(autoencoder, step)
        if step % 50 == 1:
            progress.set_postfix(error=f"{error.item():.4f}", kl=f"{divergence.item():.3g}", refresh=False)
    autoencoder.load_state_dict(average.state)
    return autoencoder.eval().requires_grad_(False)


def score(autoencoder: Autoencoder, dataset: Dataset, device: torch.device) -> dict[str, float | int | str]:
    """Peak signal-to-noise ratio in dB of pictures in [-1, 1], of the test split where there is one."""
    split = "train" if dataset.test is None else "test"
    pictures = dataset.train.x if dataset.test is None else dataset.test.x
    count = min(SCORED, len(pictures))
    total = 0.0
    for first in range(0, count, 16):
        x, back = _there_and_back(autoencoder, pictures[first : min(first + 16, count)], device)
        total += float((back - x).square().mean(dim=(1, 2, 3)).sum())
    return {"psnr": 10 * math.log10(4 / max(total / count, 1e-12)), "pictures": count, "split": split}


def grid(autoencoder: Autoencoder, dataset: Dataset, device: torch.device) -> bytes:
    """A PNG: pictures above what became of them."""
    import numpy as np

    from export.runtime.images import encode, tile

    pictures = dataset.train.x if dataset.test is None else dataset.test.x
    x, back = _there_and_back(autoencoder, pictures[:SHOWN], device)
    rows = []
    for start in range(0, len(x), 8):
        rows += [x[start : start + 8], back[start : start + 8]]
    shown = np.concatenate([row.cpu().numpy() for row in rows]).transpose(0, 2, 3, 1)
    pixels = np.clip(np.round(shown * 127.5 + 127.5), 0, 255).astype(np.uint8)
    return encode(tile(np.broadcast_to(pixels, (*pixels.shape[:3], 3)), columns=min(8, len(x))), "png")


def _there_and_back(
    autoencoder: Autoencoder, pictures: object, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures uint8 [N, H, W, C] as the network sees them, and decoded again, within [-1, 1]."""
    import numpy as np
    import torch

    from trainer.stream import as_z

    x = as_z(torch.from_numpy(np.ascontiguousarray(pictures)).to(device))
    with torch.no_grad():
        mean, _ = autoencoder.encode(x)
        return x, autoencoder.decode(mean).clamp(-1, 1)


def _settings(args: argparse.Namespace) -> dict[str, float | int]:
    return {name: getattr(args, name) for name in ("factor", "channels", "width", "steps", "batch", "lr", "kl", "seed")}

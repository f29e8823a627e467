"""What is evaluated: a checkpoint or a bundle, as something that makes pictures, known by hashes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from export.runtime.grids import Grid, Span, Step, check_grid

if TYPE_CHECKING:
    import torch

    from export.runtime.bundle import Bundle
    from models.checkpoint import CheckpointConfig

BATCH = 64

SAMPLED: set[str] = {"kind", "shape", "labels", "architecture", "span", "t_max", "guidance", "augment"}
"""Fields of a checkpoint's config that its samples depend on, beside its weights and the grid."""

Pictures = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Generator:
    """A model with its sampler: bytes of pictures, as a server would send them."""

    name: str
    identity: dict[str, Any]
    """What it is, by hashes, and how it is run."""
    labels: tuple[str, ...]
    size: tuple[int, int]
    """(H, W) of its pictures."""
    grids: dict[int, Grid]
    span: Span
    t_max: float
    guidance: float | None
    data: str | None
    """SHA-256 of the data set that it was trained on, where that is known."""
    draw: Callable[[Grid, int, Sequence[int]], Pictures]
    """Pictures uint8 [N, H, W, 3] of a grid, the first seed, and a label for each."""

    def grid(self, steps: int) -> Grid:
        """The grid of that many steps; ValueError that says which there are."""
        if steps not in self.grids:
            known = ", ".join(map(str, sorted(self.grids)))
            raise ValueError(f"--steps {steps}: {self.name} has grids for {known} steps")
        return self.grids[steps]


def from_checkpoint(path: Path, ema: str | None, guidance: float | None, device: torch.device) -> Generator:
    """The network of a checkpoint folder, or of a run's newest. Raises as `load_checkpoint`, and for no pictures."""
    from models.checkpoint import find_checkpoint, find_weights, load_checkpoint
    from trainer.sampling import draw, to_images

    folder = find_checkpoint(path)
    flow_map, config = load_checkpoint(folder, ema)
    if config.kind != "image":
        raise ValueError(f"{folder} makes points, not pictures")
    if config.data.get("latents"):
        raise ValueError(f"{folder} makes latents; export it with its autoencoder, and give the bundle")
    weights, file = find_weights(folder, config, ema)
    told = config.guidance
    if told is None and guidance not in (None, 1.0):
        raise ValueError(f"--guidance {guidance!r}: {folder} takes no guidance; leave it out")
    if told is not None and guidance is not None and not told.min <= guidance <= told.max:
        raise ValueError(f"--guidance {guidance!r}: {folder} takes {told.min:g} to {told.max:g}")
    scale = None if told is None else told.default if guidance is None else guidance
    flow_map.to(device)

    def pictures(grid: Grid, seed: int, labels: Sequence[int]) -> Pictures:
        return to_images(_finite(draw(flow_map, config.shape, grid, labels, seed, scale), str(file), grid))

    identity = {
        "kind": "checkpoint",
        "method": config.method,
        "step": config.step,
        "weights": weights,
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        "config": hashlib.sha256(config.model_dump_json(include=SAMPLED).encode()).hexdigest(),
        "longjump": longjump_version(),
        "device": device.type,
    }
    grids = {int(steps): tuple(Step(*jump) for jump in grid) for steps, grid in config.grids.items()}
    check_grids(grids, config, folder / "config.json")
    size = (config.shape[1], config.shape[2])
    return Generator(
        folder.name,
        identity,
        config.labels,
        size,
        grids,
        config.span,
        config.t_max,
        scale,
        _hash(config.data),
        pictures,
    )


def check_grids(grids: dict[int, Grid], config: CheckpointConfig, where: Path) -> None:
    """Raise ValueError, naming the file, for no grids, and for one that the map cannot walk."""
    if not grids:
        raise ValueError(f"{where}: has no grids, so that there is nothing to draw samples with")
    for steps, grid in grids.items():
        try:
            check_grid(grid, config.span, config.t_max)
        except ValueError as error:
            raise ValueError(f"{where}: the grid for {steps} steps: {error}") from None


def from_bundle(
    bundle: Bundle, guidance: float | None, engine: str | None, precision: str | None, threads: int | None
) -> Generator:
    """A bundle in the engine that serves it. Raises as `open_engine`, and for no pictures."""
    from export.runtime.engines import open_engine
    from export.runtime.sampler import sample

    manifest = bundle.manifest
    if manifest.image_shape is None:
        raise ValueError(f"{bundle.path} makes points, not pictures")
    scale = manifest.check_guidance(guidance)
    runner = open_engine(bundle, threads, engine, precision)
    most = runner.choice.entry.batch[1] or BATCH

    def pictures(grid: Grid, seed: int, labels: Sequence[int]) -> Pictures:
        seeds = range(seed, seed + len(labels))
        z = sample(runner.jump, manifest.z_shape, grid, seeds, labels, scale, min(BATCH, most))
        _finite(z, str(bundle.path), grid)
        return np.concatenate([runner.decode(z[start : start + BATCH]) for start in range(0, len(z), BATCH)])

    identity = {
        "kind": "bundle",
        "method": manifest.method,
        "digest": manifest.digest,
        "engine": runner.choice.name,
        "precision": runner.choice.entry.precision,
        "fingerprint": runner.fingerprint,
    }
    height, width, _ = manifest.image_shape
    data = _hash(manifest.provenance.get("data"))
    grids = {steps: manifest.grid(steps) for steps in manifest.steps}
    return Generator(
        manifest.name,
        identity,
        tuple(manifest.labels),
        (height, width),
        grids,
        manifest.span,
        manifest.t_max,
        scale,
        data,
        pictures,
    )


def longjump_version() -> str:
    """The version that draws and measures."""
    try:
        return version("longjump")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "unknown"


def _finite(z: NDArray[np.float32], where: str, grid: Grid) -> NDArray[np.float32]:
    """The samples; ValueError for NaN and infinities, which bytes do not show: they look like some picture."""
    if not np.isfinite(z).all():
        raise ValueError(f"{where}: samples are not finite at {len(grid)} step" + "s" * (len(grid) != 1))
    return z


def _hash(data: Any) -> str | None:
    """That of the data set of pictures, in a free field that may hold anything: of latents those they were made of."""
    made_of = data.get("pictures") if isinstance(data, dict) else None
    data = made_of if isinstance(made_of, dict) and "sha256" in made_of else data
    found = data.get("sha256") if isinstance(data, dict) else None
    found = found.get("dataset") if isinstance(found, dict) else found
    return found if isinstance(found, str) else None

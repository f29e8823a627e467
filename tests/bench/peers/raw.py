"""What every peer serves: noise, the raw engine, decode and PNG, and the arguments of its service."""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

from export.runtime.bundle import open_bundle
from export.runtime.engines import Engine, open_engine
from export.runtime.images import encode
from export.runtime.noise import draw_label
from export.runtime.sampler import sample


class Ask(TypedDict):
    """A request's fields."""

    steps: int
    seed: int


def arguments() -> argparse.Namespace:
    """--bundle, --port, and --split PROCESSES THREADS."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--split", type=int, nargs=2, required=True, metavar=("PROCESSES", "THREADS"))
    return parser.parse_known_args()[0]


def warm_engine(args: argparse.Namespace) -> Engine:
    """The bundle's engine with its threads, after a first call."""
    engine = open_engine(open_bundle(args.bundle), args.split[1])
    engine.warm()
    return engine


def pictures(engine: Engine, asks: Sequence[Ask]) -> list[bytes]:
    """A PNG for each; those with the same steps share the network's evaluations."""
    manifest = engine.manifest
    by_steps: dict[int, list[int]] = defaultdict(list)
    for index, ask in enumerate(asks):
        by_steps[ask["steps"]].append(index)
    scale = None if manifest.guidance is None else manifest.guidance.default
    found = [b""] * len(asks)
    for steps, indices in by_steps.items():
        seeds = [asks[index]["seed"] for index in indices]
        labels = [draw_label(seed, len(manifest.labels)) for seed in seeds]
        z = sample(engine.jump, manifest.z_shape, manifest.grid(steps), seeds, labels, scale, batch=len(seeds))
        for index, image in zip(indices, engine.decode(z), strict=True):
            found[index] = encode(image, "png")
    return found

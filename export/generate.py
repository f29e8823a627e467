"""Generate from a bundle into a file, without a server.

The same runtime as the server's: the same bundle, seed, label, steps and guidance give the same image, byte
for byte. Image i of several has the seed SEED + i. What was used is printed, so that it can be repeated.

Examples:
  longjump generate BUNDLE -o picture.png
  longjump generate BUNDLE --label planets --seed 7 --steps 2 -n 16 -o grid.png
"""

from __future__ import annotations

import argparse
import json
import secrets
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from export.runtime.flags import add_engine_arguments

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from export.runtime.bundle import Bundle
    from export.runtime.engines import Engine
    from export.runtime.images import Jpeg
    from export.runtime.manifest import Manifest

OutputFormat = Literal["png", "jpeg", "webp", "npy", "json"]

_SUFFIXES: dict[str, OutputFormat] = {
    ".png": "png",
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
    ".webp": "webp",
    ".npy": "npy",
    ".json": "json",
}

RANDOM_SEED_BITS = 32
"""A seed drawn when none is given: short enough to be typed again."""


@dataclass(frozen=True)
class Request:
    """What is to be generated, checked against the manifest; sample i has seeds[i] and labels[i]."""

    seeds: range
    labels: list[int]
    steps: int
    guidance: float | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `longjump generate`."""
    parser.add_argument("bundle", metavar="BUNDLE", help="the folder of the bundle")
    parser.add_argument("--label", help="index, name or none (default: drawn from the seed)")
    parser.add_argument("--seed", type=int, help="0 to 2**63 - 1 (default: a random one)")
    parser.add_argument("--steps", type=int, help="network evaluations (default: the bundle's)")
    parser.add_argument("--guidance", type=float, help="effective scale, 1 = plain (default: the bundle's)")
    parser.add_argument("-n", type=int, default=1, help="how many; more than one image makes a grid (default: 1)")
    parser.add_argument(
        "--format",
        choices=get_args(OutputFormat),
        help="images: png, jpeg, webp, npy; points: npy, json (default: the ending of FILE)",
    )
    parser.add_argument("--threads", type=int, help="threads of one network evaluation (default: one for each core)")
    add_engine_arguments(parser)
    parser.add_argument(
        "--unrolled", action="store_true", help="run all steps as one graph, where the bundle has it: the same bytes"
    )
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="FILE", help="the file to write")


def run(args: argparse.Namespace) -> int:
    """Generate and write; 0, or ValueError and OSError for the person who asked."""
    from export.runtime.bundle import open_bundle
    from export.runtime.engines import Printing, open_engine
    from export.runtime.manifest import exact
    from export.runtime.target import check_target, write_file

    check_target(args.out)
    bundle = open_bundle(args.bundle, engines=False)
    manifest = bundle.manifest
    format = choose_format(manifest, args.format, args.out)
    request = resolve(manifest, args.label, args.seed, args.steps, args.guidance, args.n)
    if args.unrolled:
        made, fingerprint = _in_one(bundle, request, args)
        jpeg = None
    else:
        engine = open_engine(bundle, args.threads, args.engine, args.precision)
        if engine.choice.warning:
            print(f"longjump generate: warning: {engine.choice.warning}", file=sys.stderr)
        z, fingerprint = draw(engine, request), engine.fingerprint
        made = z if manifest.kind == "points" else engine.decode(z)
        jpeg = engine.jpeg if isinstance(engine, Printing) else None
    data = render(manifest, fingerprint, request, format, made, jpeg)
    write_file(args.out, data)
    names = [manifest.label_name(label) for label in request.labels]
    if len(set(names)) == 1:
        names = names[:1]
    guidance = "" if request.guidance is None else f" guidance={exact(request.guidance)}"
    print(
        f"{args.out}: seed={request.seeds[0]} label={','.join(names)} steps={request.steps}{guidance} n={args.n} "
        f"fingerprint={fingerprint}"
    )
    return 0


def resolve(
    manifest: Manifest,
    label: str | int | None = None,
    seed: int | None = None,
    steps: int | None = None,
    guidance: float | None = None,
    n: int = 1,
) -> Request:
    """Fill in what was left open and check the rest; ValueError says what is supported."""
    from export.runtime.noise import check_seed, draw_label

    if n < 1:
        raise ValueError(f"-n must be at least 1, not {n}")
    first = secrets.randbits(RANDOM_SEED_BITS) if seed is None else check_seed(seed)
    check_seed(first + n - 1)
    seeds = range(first, first + n)
    if label is None:
        labels = [draw_label(one, len(manifest.labels)) for one in seeds]
    else:
        labels = [manifest.find_label(label)] * n
    count = manifest.default_steps if steps is None else steps
    manifest.grid(count)
    return Request(seeds, labels, count, manifest.check_guidance(guidance))


def draw(engine: Engine, request: Request) -> NDArray[np.float32]:
    """The samples of a request at t = 0, float32 [n, *z_shape]."""
    from export.runtime.sampler import sample

    manifest = engine.manifest
    grid = manifest.grid(request.steps)
    return sample(engine.jump, manifest.z_shape, grid, request.seeds, request.labels, request.guidance)


def choose_format(manifest: Manifest, format: OutputFormat | None, out: Path) -> OutputFormat:
    """The format asked for, or that of the file's ending; ValueError if the kind of bundle has none such."""
    allowed = ("npy", "json") if manifest.kind == "points" else ("png", "jpeg", "webp", "npy")
    chosen = format or _SUFFIXES.get(out.suffix.lower())
    if chosen is None:
        raise ValueError(f"{out}: the ending names no format; use --format, one of {', '.join(allowed)}")
    if chosen not in allowed:
        raise ValueError(f"{manifest.name} makes {manifest.kind}: format {chosen} must be one of {', '.join(allowed)}")
    return chosen


def _in_one(bundle: Bundle, request: Request, args: argparse.Namespace) -> tuple[NDArray[Any], str]:
    """What is made, and its fingerprint, by the graph of all steps."""
    from export.runtime.engines.onnxruntime import fingerprint
    from export.runtime.unrolled import open_unrolled

    if args.engine is not None or args.precision is not None:
        raise ValueError("--unrolled runs fp32 in ONNX Runtime on the CPU; leave --engine and --precision out")
    unrolled = open_unrolled(bundle, request.steps, args.threads)
    return unrolled.generate(request.seeds, request.labels, request.guidance), fingerprint(bundle.manifest.digest)


def render(
    manifest: Manifest,
    fingerprint: str,
    request: Request,
    format: OutputFormat,
    made: NDArray[Any],
    jpeg: Jpeg | None = None,
) -> bytes:
    """What was made as the bytes of a file.

    Images u8 [n, H, W, 3]: one, or a nearly square grid of several (npy: uint8 [H, W, 3], or [n, H, W, 3]). Points: npy
    float32 [n, D], or JSON with what was used beside them.
    """
    from export.runtime.images import encode, encode_npy, tile

    if format == "json":
        used = {
            "model": manifest.name,
            "seed": request.seeds[0],
            "labels": [manifest.label_name(label) for label in request.labels],
            "steps": request.steps,
            "guidance": request.guidance,
            "fingerprint": fingerprint,
            "points": made.tolist(),
        }
        return (json.dumps(used) + "\n").encode()
    if format == "npy":
        return encode_npy(made[0] if manifest.kind == "image" and len(made) == 1 else made)
    return encode(made[0] if len(made) == 1 else tile(made), format, jpeg=jpeg)

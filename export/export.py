"""Turn a checkpoint into a bundle: an ONNX graph, verified against the checkpoint, with its manifest.

The graph is compared with the checkpoint at several batch sizes and times before the bundle appears. The
checkpoint's model card, samples and curves, and its recipe, go with it.

A bundle in the place of the checkpoint is written again with what is asked for beside what it has.

Examples:
  longjump export runs/facets --out facets32
  longjump export runs/facets --out facets32 --precision fp32,fp16,int8
  longjump export facets32 --out facets32-small --precision int8
  longjump export runs/latent --autoencoder runs/vae --out latent32
  longjump export runs/facets --out facets32 --precision fp16 --tensorrt --target sm80,sm89
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from export.tensorrt.arguments import add_compile_arguments

if TYPE_CHECKING:
    from export.latents import LatentGraphs
    from export.precision.quality import Evaluation, Judge
    from export.runtime.bundle import Bundle
    from export.runtime.manifest import Guidance
    from models.checkpoint import CheckpointConfig
    from models.flow_map import FlowMap

CARRIED = ("README.md", "samples.png", "curves.png", "metrics.json", "grids.json", "evaluation.json", "neighbours.png")
"""Files of a checkpoint that go into the bundle as they are, where present."""

OF_DEFAULT_WEIGHTS = ("README.md", "samples.png")
"""Those of them that show and describe the checkpoint's default weights, and would be untrue beside others."""

OF_MEASURED_WEIGHTS = {"grids.json": ("grids.json",), "evaluation.json": ("evaluation.json", "neighbours.png")}
"""Those of them that tell of the weights whose SHA-256 is in the first of each, and would be untrue beside others."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `longjump export`."""
    parser.add_argument(
        "checkpoint", type=Path, metavar="CHECKPOINT", help="a checkpoint, a run (its newest one), or a bundle"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="BUNDLE", help="the folder to write")
    parser.add_argument(
        "--ema", metavar="H", help="which averaged weights, by horizon, or 'model' (default: the checkpoint's first)"
    )
    parser.add_argument(
        "--precision",
        metavar="P,P,...",
        help="of fp32, fp16 and int8: graphs beside fp32's, each refused where it is too far from it (default: fp32)",
    )
    parser.add_argument("--force-precision", action="store_true", help="take a precision that is beyond its bound")
    parser.add_argument(
        "--evaluate",
        type=Path,
        metavar="DATA",
        help="a data set with a test split: measure by longjump eval whether the pictures of a precision are worse "
        "than fp32's, and refuse it where they are",
    )
    parser.add_argument(
        "--evaluate-samples", type=int, metavar="N", help="of each step count and precision (default: 2000)"
    )
    parser.add_argument(
        "--evaluate-steps", metavar="N,N,...", help="step counts (default: 1,2,4,8, as far as the model has them)"
    )
    parser.add_argument(
        "--unroll",
        metavar="N,N,...",
        help="all of N steps and the decoder in one graph, for longjump generate --unrolled",
    )
    parser.add_argument(
        "--autoencoder", type=Path, metavar="FOLDER", help="of a model of latents: what made them, for decoding"
    )
    parser.add_argument("--decoder", type=Path, metavar="FOLDER", help="a tiny decoder in place of its own")
    parser.add_argument(
        "--guidance",
        metavar="MIN:MAX:DEFAULT",
        help="give a model of span velocity a guidance input, for two evaluations of its network each step",
    )
    parser.add_argument("--name", help="name of the model (default: that of the bundle's folder, or of a bundle given)")
    parser.add_argument("--licence", help="licence of the weights, for the record (default: unspecified)")
    parser.add_argument("--force", action="store_true", help="replace BUNDLE if it exists")
    add_compile_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Export, verify and write; 0, or ValueError and OSError for the person who asked."""
    from export.assemble import extend, summary
    from export.check import BATCHES
    from export.precision import parse_precisions
    from export.runtime.bundle import check_free, open_bundle
    from export.runtime.manifest import MANIFEST_FILE
    from export.tensorrt.add import add_engines
    from export.tensorrt.order import read_order
    from export.wrap import parse_guidance, parse_steps

    if not args.checkpoint.exists():
        raise FileNotFoundError(f"{args.checkpoint}: there is no such checkpoint, run or bundle")
    order = read_order(args)
    precisions = () if args.precision is None else parse_precisions(args.precision)
    shared = {
        "precisions": precisions,
        "force_precision": args.force_precision,
        "judge": read_evaluation(args, precisions),
        "unroll": () if args.unroll is None else parse_steps(args.unroll, "--unroll"),
        "replace": args.force,
    }
    if (args.checkpoint / MANIFEST_FILE).is_file():
        for option in ("ema", "autoencoder", "decoder", "guidance"):
            if (given := getattr(args, option)) is not None:
                raise ValueError(f"--{option} {given}: {args.checkpoint} is a bundle, in which that is settled")
        check_free(args.out, args.force)
        bundle = extend(open_bundle(args.checkpoint), args.out, name=args.name, licence=args.licence, **shared)
    else:
        licence = args.licence or "unspecified"
        bundle = export(
            _checkpoint(args.checkpoint),
            args.out,
            args.ema,
            args.name,
            licence,
            autoencoder=args.autoencoder,
            decoder=args.decoder,
            scales=None if args.guidance is None else parse_guidance(args.guidance, rows_per_step=2),
            **shared,
        )
        error = bundle.manifest.provenance["parity"]["max_abs_error"]
        print(f"graph and checkpoint differ by at most {error:.2g} (batches {', '.join(map(str, BATCHES))})")
    if order is not None:
        bundle = add_engines(bundle, order, print)
    print(summary(bundle))
    return 0


def export(
    checkpoint: Path,
    out: Path,
    ema: str | None = None,
    name: str | None = None,
    licence: str = "unspecified",
    *,
    autoencoder: Path | None = None,
    decoder: Path | None = None,
    scales: Guidance | None = None,
    precisions: Sequence[str] = (),
    force_precision: bool = False,
    judge: Judge | None = None,
    unroll: Sequence[int] = (),
    replace: bool = False,
) -> Bundle:
    """Write the bundle `out` of a checkpoint folder (or the newest one of a run) and open it.

    A checkpoint of latents needs its `autoencoder`, and takes a tiny `decoder` (`export.latents`); `scales` make one of
    span velocity a guided one (`models.guided`); `precisions`, `judge` and `unroll` are as `assemble` has them. Raises
    ValueError if the graph is not within export.check.TOLERANCE of the checkpoint or one of `precisions` not within its
    bound of the graph, FileExistsError if `out` exists and is not to be replaced, and what load_checkpoint raises.
    """
    from export.assemble import assemble, build_stamp
    from export.check import BATCHES, TOLERANCE, check_decode, check_jump_signature, graph_jump, parity
    from export.decode import build_decode
    from export.graph import build_jump, builder
    from export.runtime.bundle import check_free
    from export.runtime.engines.session import open_session
    from export.runtime.manifest import check_name, encode_file, jump_file
    from models.checkpoint import find_checkpoint, find_weights, load_checkpoint
    from models.numpy_jump import numpy_jump

    check_free(out, replace)
    name = check_name(name or out.absolute().name)
    folder = find_checkpoint(checkpoint)
    flow_map, config = load_checkpoint(folder, ema)
    shape, labels = tuple(config.shape), list(config.labels)
    latents = _latents(folder, config, autoencoder, decoder)
    guidance = _guidance(folder, config)
    if scales is not None:
        flow_map, guidance = _guided(folder, flow_map, config), scales
    jump = build_jump(flow_map, shape, len(labels), guidance is not None)
    session = open_session(jump, jump_file("fp32"))
    check_jump_signature(session, "the exported graph", shape, guidance is not None)
    error = parity(numpy_jump(flow_map), graph_jump(session), shape, len(labels), config.span, config.t_max, guidance)
    decode, image_shape = None, None
    if config.kind == "image":
        decode = build_decode(shape) if latents is None else latents.decode
        image_shape = check_decode(open_session(decode, "the decode graph"), "the decode graph", shape)
    weights, file = find_weights(folder, config, ema)
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    provenance = {
        "parity": {"max_abs_error": error, "tolerance": TOLERANCE, "batches": list(BATCHES)},
        "weights": {"ema": weights, "step": config.step, "sha256": sha256},
        "built": build_stamp(),
        "architecture": config.architecture.model_dump(mode="json"),
        "data": config.data,
        **({"origin": config.origin} if config.origin else {}),
        "recipe": config.recipe,
    }
    return assemble(
        out,
        jump=jump,
        decode=decode,
        z_shape=shape,
        image_shape=image_shape,
        labels=labels,
        span=config.span,
        t_max=config.t_max,
        guidance=guidance,
        builder=builder(),
        fields={
            "name": name,
            "grids": config.grids,
            "method": config.method,
            "licence": licence,
            "provenance": provenance,
            **({} if latents is None else {"latents": latents.described}),
        },
        extras=_extras(folder, config, sha256, default=weights == find_weights(folder, config)[0])
        | ({} if latents is None else {encode_file("fp32"): latents.encode}),
        precisions=precisions,
        force_precision=force_precision,
        judge=judge,
        unroll=unroll,
        replace=replace,
    )


def _checkpoint(path: Path) -> Path:
    """The checkpoint at `path`. FileNotFoundError that says all that it might have been."""
    from export.runtime.manifest import MANIFEST_FILE
    from models.checkpoint import find_checkpoint

    try:
        return find_checkpoint(path)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{error}; a bundle ({MANIFEST_FILE}) would do too") from None


def read_evaluation(args: argparse.Namespace, precisions: Sequence[str]) -> Evaluation | None:
    """What is to be asked of `longjump eval`, None without --evaluate. Raises ValueError or OSError, before any work,
    where that has no sense."""
    if args.evaluate is None:
        given = {"--evaluate-samples": args.evaluate_samples, "--evaluate-steps": args.evaluate_steps}
        if stray := next((flag for flag, value in given.items() if value is not None), None):
            raise ValueError(f"{stray} is about --evaluate DATA; give that too")
        return None
    if not set(precisions) - {"fp32"}:
        raise ValueError("--evaluate compares further precisions with fp32: give --precision fp16, int8 or both")
    if not args.evaluate.exists():
        raise FileNotFoundError(f"--evaluate {args.evaluate}: there is no such data set")
    from export.precision.quality import SAMPLES, Evaluation

    samples = SAMPLES if args.evaluate_samples is None else args.evaluate_samples
    return Evaluation(args.evaluate, samples, args.evaluate_steps)


def _latents(
    folder: Path, config: CheckpointConfig, autoencoder: Path | None, decoder: Path | None
) -> LatentGraphs | None:
    """What leads between z and pictures, for a checkpoint of latents; None for another. Raises ValueError."""
    from export.latents import build_latent_graphs

    latents = config.data.get("latents")
    if latents is None:
        if autoencoder is not None or decoder is not None:
            raise ValueError(f"{folder} makes {config.kind} data and no latents; it takes no autoencoder or decoder")
        return None
    if autoencoder is None:
        made_by = f", {latents['autoencoder']}" if latents.get("autoencoder") else ""
        raise ValueError(f"{folder} makes latents; give the autoencoder that made them{made_by}: --autoencoder FOLDER")
    return build_latent_graphs(latents, tuple(config.shape), autoencoder, decoder)


def _guided(folder: Path, flow_map: FlowMap, config: CheckpointConfig) -> FlowMap:
    """The flow map with a guidance input. Raises ValueError for one that it would be wrong for."""
    from models.guided import Guided

    if config.guidance is not None:
        raise ValueError(f"--guidance: {folder} has a guidance input already, which it was trained with")
    if not config.labels:
        raise ValueError(f"--guidance: {folder} knows no labels, so there is nothing to guide towards")
    if config.recipe.get("objective", {}).get("label_dropout") == 0:
        raise ValueError(f"--guidance: {folder} was trained with label_dropout 0, so it knows nothing without a label")
    return Guided(flow_map, len(config.labels)).eval()


def _guidance(folder: Path, config: CheckpointConfig) -> Guidance | None:
    """The scales of a checkpoint. Raises ValueError for those that no bundle may have."""
    from pydantic import ValidationError

    from export.runtime.manifest import Guidance, one_line

    try:
        return None if config.guidance is None else Guidance(**config.guidance.model_dump())
    except ValidationError as error:
        raise ValueError(f"{folder / 'config.json'}: guidance: {one_line(error)}") from None


def _extras(folder: Path, config: CheckpointConfig, sha256: str, default: bool) -> dict[str, bytes | Path]:
    """What travels with the graphs: the resolved recipe, and what the checkpoint shows a person of these weights."""
    import yaml

    from models.card_section import without_evaluation

    extras: dict[str, bytes | Path] = {"recipe.yaml": yaml.safe_dump(config.recipe, sort_keys=False).encode()}
    left = {file for told, files in OF_MEASURED_WEIGHTS.items() if _measured(folder / told) != sha256 for file in files}
    left.update(() if default else OF_DEFAULT_WEIGHTS)
    extras.update({file: folder / file for file in CARRIED if file not in left and (folder / file).is_file()})
    if "README.md" in extras and "evaluation.json" in left:
        extras["README.md"] = without_evaluation((folder / "README.md").read_bytes())
    return extras


def _measured(results: Path) -> str | None:
    """SHA-256 of the weights that figures tell of; None where that is not to be learned."""
    try:
        model = json.loads(results.read_bytes())["model"]
        return model["sha256"] if isinstance(model["sha256"], str) else None
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None

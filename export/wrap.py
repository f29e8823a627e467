"""Wrap an ONNX graph that was made elsewhere into a bundle that longjump serves.

The graph must be a jump: inputs z (float32, batch x shape), t and s (float32, batch), label (int64, batch)
and, if --guidance is given, guidance (float32, batch); one output z_s, shaped like z; a dynamic batch axis;
its weights inside the file. t = 1 is noise, t = 0 data; z_s = z - (t - s) * average velocity. The graph is
run before it is accepted, and doc strings and metadata, which may hold paths of the machine that made it, are
taken out.

Example:
  longjump bundle jump.onnx --image 3x32x32 --labels cat,dog --span any --out pets
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from export.runtime.grids import DYADIC_FINEST, SPANS, Grid, Span, flow_grid, renoise_grid
from export.runtime.manifest import Guidance, check_name

if TYPE_CHECKING:
    from export.runtime.bundle import Bundle

_DEFAULT_STEPS: dict[Span, tuple[int, ...]] = {
    "velocity": (4, 8, 16, 32, 64),
    "endpoint": (1, 2, 4),
    "any": (1, 2, 4, 8),
    "dyadic": (1, 2, 4, 8),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `longjump bundle`."""
    parser.add_argument("graph", type=Path, metavar="JUMP.onnx", help="the jump graph")
    shape = parser.add_mutually_exclusive_group(required=True)
    shape.add_argument("--image", metavar="CxHxW", help="z is an image, such as 3x32x32")
    shape.add_argument("--points", metavar="D", help="z is a point of D numbers")
    parser.add_argument(
        "--labels", default="0", metavar="N|A,B,C", help="how many, or their names; the graph takes 0 to N, N for none"
    )
    parser.add_argument(
        "--span",
        required=True,
        choices=SPANS,
        help="which jumps the map knows: velocity (Euler steps of a flow), endpoint (to s = 0), "
        f"any (every s <= t), dyadic (powers of two down to 1/{DYADIC_FINEST})",
    )
    parser.add_argument("--steps", metavar="N,N,...", help="step counts to offer (default: a few that suit the span)")
    parser.add_argument(
        "--t-max", type=float, default=1.0, metavar="T", help="largest time below 1 the map was trained at (default: 1)"
    )
    parser.add_argument(
        "--guidance", metavar="MIN:MAX:DEFAULT", help="the range of the input guidance (1 = plain conditional)"
    )
    parser.add_argument(
        "--rows-per-step", type=int, choices=(1, 2), default=1, help="evaluations a guided row costs (default: 1)"
    )
    parser.add_argument(
        "--decode", type=Path, metavar="DECODE.onnx", help="graph z -> uint8 [B, H, W, 3] (default: [-1, 1] to pixels)"
    )
    parser.add_argument("--method", default="unknown", help="how the map was trained, for the record")
    parser.add_argument("--licence", default="unspecified", help="licence of the weights, for the record")
    parser.add_argument("--name", help="name of the model (default: that of the bundle's folder)")
    parser.add_argument("--out", type=Path, required=True, metavar="BUNDLE", help="the folder to write")
    parser.add_argument("--force", action="store_true", help="replace BUNDLE if it exists")


def run(args: argparse.Namespace) -> int:
    """Wrap the graph; 0, or ValueError and OSError for the person who asked."""
    if args.guidance is None and args.rows_per_step != 1:
        raise ValueError("--rows-per-step is about guidance; give --guidance MIN:MAX:DEFAULT too")
    bundle = wrap(
        args.graph,
        args.out,
        z_shape=parse_shape(args.image, 3) if args.image else parse_shape(args.points, 1),
        labels=parse_labels(args.labels),
        span=args.span,
        grids=None if args.steps is None else make_grids(args.span, parse_steps(args.steps)),
        t_max=args.t_max,
        guidance=None if args.guidance is None else parse_guidance(args.guidance, args.rows_per_step),
        decode=args.decode,
        method=args.method,
        licence=args.licence,
        name=args.name,
        replace=args.force,
    )
    from export.assemble import summary

    print(summary(bundle))
    return 0


def wrap(
    graph: Path,
    out: Path,
    *,
    z_shape: tuple[int, ...],
    labels: list[str],
    span: Span,
    grids: dict[str, Grid] | None = None,
    t_max: float = 1.0,
    guidance: Guidance | None = None,
    decode: Path | None = None,
    method: str = "unknown",
    licence: str = "unspecified",
    name: str | None = None,
    replace: bool = False,
) -> Bundle:
    """Check the jump in the file `graph` (and the decoder, for z_shape [C, H, W]) and write the bundle `out`.

    Raises ValueError if the graph has another signature, keeps data outside itself, fails its trial run, or
    moves z at s = t; FileExistsError if `out` exists and is not to be replaced.
    """
    from export.assemble import assemble, build_stamp
    from export.check import check_decode, check_jump_signature, graph_jump, trial_run
    from export.decode import build_decode
    from export.runtime.bundle import check_free
    from export.runtime.engines.session import open_session

    check_free(out, replace)
    name = check_name(name or out.absolute().name)
    jump_model = read_graph(graph)
    session = open_session(jump_model, str(graph))
    check_jump_signature(session, str(graph), z_shape, guidance is not None)
    trial_run(graph_jump(session), str(graph), z_shape, len(labels), span, t_max, guidance)
    decode_model, image_shape = None, None
    if len(z_shape) == 3:
        decode_model = build_decode(z_shape) if decode is None else read_graph(decode)
        where = "the decode graph" if decode is None else str(decode)
        image_shape = check_decode(open_session(decode_model, where), where, z_shape)
    elif decode is not None:
        raise ValueError(f"--decode {decode}: points are not decoded")
    provenance = {
        "wrapped": {"file": graph.name, "sha256": hashlib.sha256(graph.read_bytes()).hexdigest()},
        "built": build_stamp(),
    }
    fields = {
        "name": name,
        "grids": grids or make_grids(span, _DEFAULT_STEPS[span]),
        "method": method,
        "licence": licence,
        "provenance": provenance,
    }
    return assemble(
        out,
        jump=jump_model,
        decode=decode_model,
        z_shape=z_shape,
        image_shape=image_shape,
        labels=labels,
        span=span,
        t_max=t_max,
        guidance=guidance,
        builder="made elsewhere",
        fields=fields,
        extras={},
        replace=replace,
    )


def read_graph(path: Path) -> bytes:
    """The stripped bytes of an ONNX file; ValueError if it is none or keeps data outside itself."""
    import onnx

    from export.runtime.bundle import refuse_external_data
    from export.strip import strip

    data = path.read_bytes()
    refuse_external_data(data, str(path))
    try:
        model = onnx.load_from_string(data)
    except Exception as error:  # protobuf's own, of a package that we do not depend on by name
        raise ValueError(f"{path} is not a readable ONNX model: {error}") from None
    strip(model)
    return bytes(model.SerializeToString(deterministic=True))


def make_grids(span: Span, steps: tuple[int, ...]) -> dict[str, Grid]:
    """Uniform grids: re-noised at 1, 1 - 1/N, ... for the span `endpoint`, flow steps for the others."""
    if span == "endpoint":
        return {str(n): renoise_grid([1 - i / n for i in range(n)]) for n in steps}
    return {str(n): flow_grid(n) for n in steps}


def parse_shape(text: str, dimensions: int) -> tuple[int, ...]:
    """`3x32x32` -> (3, 32, 32)."""
    sizes = text.lower().split("x")
    if len(sizes) != dimensions or not all(size.isdecimal() and int(size) > 0 for size in sizes):
        example = "--image CxHxW, such as 3x32x32" if dimensions == 3 else "--points D, such as 2"
        raise ValueError(f"{text!r} is not a shape; write {example}")
    return tuple(map(int, sizes))


def parse_labels(text: str) -> list[str]:
    """`3` -> 0, 1, 2 as names; `cat,dog` -> cat, dog."""
    if text.isdecimal():
        return [str(i) for i in range(int(text))]
    return [name.strip() for name in text.split(",")]


def parse_steps(text: str, option: str = "--steps") -> tuple[int, ...]:
    """`1,2,4` -> (1, 2, 4)."""
    numbers = text.split(",")
    if not all(number.strip().isdecimal() and int(number) > 0 for number in numbers):
        raise ValueError(f"{option} {text!r} is not a list of step counts; write it like 1,2,4")
    return tuple(map(int, numbers))


def parse_guidance(text: str, rows_per_step: int) -> Guidance:
    """`1:4:1.5` -> a range of 1 to 4 with the default 1.5."""
    try:
        low, high, default = (float(number) for number in text.split(":"))
        return Guidance.model_validate({"min": low, "max": high, "default": default, "rows_per_step": rows_per_step})
    except ValueError:  # pydantic's error is one too
        raise ValueError(
            f"--guidance {text!r} is not MIN:MAX:DEFAULT with 0 <= MIN <= DEFAULT <= MAX, such as 1:4:1.5"
        ) from None

"""The flags of `longjump export` about compiled engines. Reading them loads nothing."""

from __future__ import annotations

import argparse

MAX_BATCH = 64
"""The largest batch that an engine takes by default; more rows run in parts."""


def add_compile_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `export.tensorrt.order.read_order` reads."""
    group = parser.add_argument_group(
        "engines for NVIDIA GPUs",
        "Compiled from the bundle's graphs in the precisions of --precision (default: those of fp32 and fp16 that it "
        "has), and kept in a cache ($LONGJUMP_ENGINE_CACHE). Where no engine runs, the graphs do.",
    )
    group.add_argument("--tensorrt", action="store_true", help="compile engines into the bundle")
    group.add_argument(
        "--target",
        metavar="SM,...",
        help="the GPUs to compile for, by compute capability, such as sm80,sm89; 'current' is the one in this machine, "
        "on which the engines are run and compared too (default: current)",
    )
    group.add_argument(
        "--library",
        choices=("tensorrt", "tensorrt-rtx"),
        help="who compiles: tensorrt-rtx for GPUs that need not be here, tensorrt only for the one that is "
        "(default: tensorrt for 'current' where it is installed, else tensorrt-rtx)",
    )
    group.add_argument(
        "--max-batch",
        type=int,
        metavar="N",
        help=f"rows that an engine takes at once; more run in parts (default: {MAX_BATCH})",
    )

"""The names of engines, and the flags by which a person chooses one. Importing this loads no library."""

from __future__ import annotations

import argparse

CPU, CUDA, TENSORRT_PROVIDER = "onnxruntime-cpu", "onnxruntime-cuda", "onnxruntime-tensorrt"
"""ONNX Runtime by its providers."""

ENGINES = ("tensorrt", "tensorrt-rtx", CUDA, CPU, TENSORRT_PROVIDER)
"""All engines, best first."""


def add_engine_arguments(parser: argparse._ActionsContainer) -> None:
    """Declare --engine and --precision; args.engine and args.precision are None where they were not given."""
    parser.add_argument(
        "--engine",
        choices=ENGINES,
        help="run this engine or none (default: the best of the bundle that this machine can run)",
    )
    parser.add_argument(
        "--precision", metavar="P", help="fp32, fp16 or int8, as far as the bundle has it (default: the engine's best)"
    )

"""What one run of an ONNX graph takes at least: its floating-point operations and the bytes it must move.

Counted by running the graph once, unoptimised, under ONNX Runtime's profiler, which tells every node's shapes: no other
package is needed, and no graph is too odd.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import onnxruntime as ort
from numpy.typing import NDArray

Shape = Sequence[int]


@dataclass(frozen=True)
class Work:
    """Of one run.

    Args:
        flops: of matrix products and convolutions; a multiply-accumulate is 2. The rest (norms, activations) is left
            out, as is usual.
        weights: bytes of the model, which are read once.
        activations: bytes that products read and write besides. What stands between products can be done on the way.
    """

    flops: int
    weights: int
    activations: int


def count(model: bytes, inputs: Mapping[str, NDArray[Any]], where: str = "the graph") -> Work:
    """The work of one run of a serialised ONNX model with these inputs; ValueError if ONNX Runtime refuses it.

    The model is to be in float32: where ONNX Runtime casts, it takes weights for activations.
    """
    with TemporaryDirectory() as folder:
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.add_session_config_entry("session.disable_prepacking", "1")  # the profiler does not see packed weights
        options.intra_op_num_threads = 1
        options.log_severity_level = 4
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        try:
            session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
            session.run(None, dict(inputs))
        except Exception as error:  # the library's exceptions share no base class
            raise ValueError(f"{where} cannot be counted: {' '.join(str(error).split())}") from error
        events = json.loads(Path(session.end_profiling()).read_bytes())
    products = [event["args"] for event in events if event.get("args", {}).get("op_name") in _FLOPS]
    return Work(
        flops=sum(_flops(product) for product in products),
        weights=len(model),
        activations=sum(int(product["activation_size"]) + int(product["output_size"]) for product in products),
    )


def _flops(product: Mapping[str, Any]) -> int:
    read, written = (
        [shape for tensor in product[side] for shape in tensor.values()]
        for side in ("input_type_shape", "output_type_shape")
    )
    return 2 * int(_FLOPS[product["op_name"]](read, written[0]))


def _matrix(read: Sequence[Shape], written: Shape) -> float:
    """[..., m, k] times [..., k, n], either with one dimension."""
    return math.prod(written) * read[0][-1]


def _gemm(read: Sequence[Shape], written: Shape) -> float:
    """[m, k] or its transpose, to [m, n]."""
    return written[1] * math.prod(read[0])


def _convolution(read: Sequence[Shape], written: Shape) -> float:
    """A kernel [outputs, inputs / groups, ...] at every place of the output."""
    return math.prod(written) * math.prod(read[1][1:])


def _transposed(read: Sequence[Shape], written: Shape) -> float:
    """A kernel [inputs, outputs / groups, ...] at every place of the input."""
    return math.prod(read[0]) * math.prod(read[1][1:])


_FLOPS = {"MatMul": _matrix, "Gemm": _gemm, "Conv": _convolution, "ConvTranspose": _transposed}
"""Multiply-accumulates of the operators that count."""

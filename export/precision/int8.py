"""A graph in int8: 8-bit weights and activations in its middle, by ONNX Runtime's static quantisation (QDQ).

Activations are unsigned, weights signed with 7 bits: on CPUs without VNNI, ONNX Runtime's 8-bit products add two 16-bit
numbers with saturation, and full 8-bit weights would overflow there and not elsewhere. Scales are fixed by calibration,
so that a row does not depend on its company.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import onnx
from onnx import GraphProto, ModelProto
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from export.check import Rows
from export.precision.parts import PRODUCTS, end_products
from export.precision.plain import plain
from export.strip import strip


class _Visited(CalibrationDataReader):
    """Rows as inputs of the graph, one batch after another."""

    def __init__(self, visited: Sequence[Rows]) -> None:
        self._left = iter(visited)

    def get_next(self) -> dict[str, Any] | None:
        rows = next(self._left, None)
        if rows is None:
            return None
        feed = {"z": rows.z, "t": rows.t, "s": rows.s, "label": rows.label}
        return feed if rows.guidance is None else feed | {"guidance": rows.guidance}


def int8(model: bytes, visited: Sequence[Rows], where: str = "the graph") -> bytes:
    """The serialised jump graph (`where` names it in errors) with int8 products, calibrated on the rows `visited`.

    Weights have a scale for each channel, activations one for each tensor, from the smallest and largest value seen.
    First and last layers, the perceptrons of the times and products of two activations (attention) stay in float32.
    Raises ValueError for control flow and for a graph that has no product left to quantise.
    """
    proto = plain(model, where)
    chosen = _name_products(proto.graph)
    if not chosen:
        raise ValueError(f"{where}: int8 needs a layer between the first and the last one, and there is none")
    with TemporaryDirectory() as folder, _quiet():
        file = Path(folder) / "int8.onnx"
        quantize_static(
            proto,
            file,
            _Visited(visited),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=sorted(PRODUCTS),
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_quantize=chosen,
            # A convolution's 8-bit kernel writes 8 bits; the others' write float32, which what follows works on.
            extra_options={"OpTypesToExcludeOutputQuantization": ["MatMul", "Gemm"]},
        )
        quantised: ModelProto = onnx.load(file)
    strip(quantised)
    onnx.checker.check_model(quantised, full_check=True)
    return bytes(quantised.SerializeToString(deterministic=True))


def _name_products(graph: GraphProto) -> list[str]:
    """The names of the products to quantise: those with stored weights that are no ends. Unnamed nodes get a name."""
    weights, ends = {tensor.name for tensor in graph.initializer}, end_products(graph)
    for i, node in enumerate(graph.node):
        node.name = f"{i}:{node.op_type}"
    return [
        node.name
        for i, node in enumerate(graph.node)
        if node.op_type in PRODUCTS and i not in ends and node.input[1] in weights
    ]


@contextmanager
def _quiet() -> Iterator[None]:
    """No advice from the quantiser, which speaks through the root logger: the measured error judges it."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)

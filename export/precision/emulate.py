"""What an fp16 graph computes on a machine that has fp16, worked out in float32 on one that has not.

ONNX Runtime's CPU kernels have no fp16 for most operators: it casts around them and then leaves out pairs of casts, so
that between two such nodes nothing is rounded. An error measured there would be too small for a GPU.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from export.precision.plain import replace

_SPLIT = np.float32(2**13 + 1)
"""Veltkamp's: c = x * _SPLIT, c - (c - x) is x rounded to 24 - 13 = 11 bits, those of fp16. It is arithmetic, which no
optimiser leaves out, and exact but below fp16's range, where it rounds too little."""

_HUGE = np.float32(2.0**112)
"""Times this a number of 2^16, fp16's first that is too large, is infinite in float32: x _HUGE - x _HUGE is then no
number, and 0 else."""

_NAMES = ("fp16:split", "fp16:huge")


def emulate(model: bytes) -> bytes:
    """The fp16 graph as one in float32 that rounds what each of its fp16 nodes writes to fp16's 11 bits.

    Products add up in float32, as tensor cores do. Where fp16 would overflow, the result is no number.
    """
    proto = onnx.load_from_string(model)
    inferred = onnx.shape_inference.infer_shapes(proto).graph
    halves = {
        value.name
        for value in (*inferred.value_info, *inferred.output)
        if value.type.tensor_type.elem_type == TensorProto.FLOAT16
    }
    nodes: list[NodeProto] = []
    for node in proto.graph.node:
        if node.op_type == "Cast" and _target(node) in (TensorProto.FLOAT16, TensorProto.FLOAT):
            _target(node, TensorProto.FLOAT)
        rounded = [name for name in node.output if name in halves]
        node.output[:] = [f"{name}:exact" if name in halves else name for name in node.output]
        nodes.append(node)
        nodes += [part for name in rounded for part in _rounding(name)]
    weights = [
        numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name)
        if tensor.data_type == TensorProto.FLOAT16
        else tensor
        for tensor in proto.graph.initializer
    ]
    constants = [numpy_helper.from_array(np.asarray(value), name) for name, value in zip(_NAMES, (_SPLIT, _HUGE))]
    replace(proto.graph, nodes, [*weights, *constants])
    proto.graph.ClearField("value_info")  # whose types were fp16's
    return bytes(proto.SerializeToString(deterministic=True))


def _rounding(name: str) -> list[NodeProto]:
    """The nodes that make `name` of what is called `name:exact`."""
    split, huge = _NAMES
    exact, large, rest, rounded, beyond, nothing = (
        f"{name}:{part}" for part in ("exact", "large", "rest", "rounded", "beyond", "nothing")
    )
    return [
        helper.make_node("Mul", [exact, split], [large]),
        helper.make_node("Sub", [large, exact], [rest]),
        helper.make_node("Sub", [large, rest], [rounded]),
        helper.make_node("Mul", [rounded, huge], [beyond]),
        helper.make_node("Sub", [beyond, beyond], [nothing]),
        helper.make_node("Add", [rounded, nothing], [name]),
    ]


def _target(node: NodeProto, to: int | None = None) -> int:
    """The type that a Cast casts to; set to `to` where that is given."""
    attribute = next(attribute for attribute in node.attribute if attribute.name == "to")
    if to is not None:
        attribute.i = to
    return int(attribute.i)

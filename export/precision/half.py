"""A graph in fp16: the same inputs and outputs in float32, casts inside, its sensitive parts left in float32.

fp16 is the half type that every engine has: TensorRT takes precision from the graph, GPUs of all ages compute in it.
On a CPU without arithmetic of its own for it, ONNX Runtime casts back, and it only saves disk.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from export.precision.parts import PRODUCTS, sensitive
from export.precision.plain import plain, replace

LARGEST = float(np.finfo(np.float16).max)

_LAYOUT = frozenset(
    {
        *("Reshape", "Transpose", "Slice", "Squeeze", "Unsqueeze", "Concat", "Split", "Identity", "Expand", "Tile"),
        *("Flatten", "Gather", "DepthToSpace", "SpaceToDepth", "Shape", "Size"),
    }
)
"""Operators that only move or count numbers: they stay in the type in which these come."""

_COMPUTES = PRODUCTS | {
    *("Add", "Sub", "Mul", "Div", "Neg", "Abs", "Min", "Max", "Clip", "Where", "Pad", "Resize"),
    *("Sigmoid", "Tanh", "Relu", "LeakyRelu", "Gelu", "Erf", "HardSigmoid", "HardSwish", "Elu", "Softplus"),
    *("Softmax", "LayerNormalization", "AveragePool", "MaxPool"),
}
"""Operators that may compute in fp16. Others stay in float32."""

_ALWAYS_FLOAT = {"Resize": (1, 2)}
"""Inputs that are float32 whatever the operator computes in: a Resize's region and scales."""


def half(model: bytes, where: str = "the graph") -> bytes:
    """The serialised ONNX model (`where` names it in errors) with products, activations and weights in fp16.

    Names, shapes and types of its inputs and outputs stay. In float32 stay the nodes of
    `export.precision.parts.sensitive`; LayerNormalization computes its statistics in float32 by its own attribute.
    Raises ValueError for control flow, and for a weight beyond fp16's range.
    """
    proto = plain(model, where)
    _Halving(proto, where).rewrite()
    onnx.checker.check_model(proto, full_check=True)
    return bytes(proto.SerializeToString(deterministic=True))


class _Halving:
    """One model while it is rewritten, in place."""

    def __init__(self, model: ModelProto, where: str) -> None:
        self.graph = model.graph
        self.where = where
        inferred = onnx.shape_inference.infer_shapes(model).graph
        typed = (*inferred.input, *inferred.output, *inferred.value_info)
        self.types = {value.name: value.type.tensor_type.elem_type for value in typed}
        self.weights = {tensor.name: tensor for tensor in self.graph.initializer}
        self.types |= {name: tensor.data_type for name, tensor in self.weights.items()}
        self.native = dict.fromkeys((name for name, type in self.types.items() if type == TensorProto.FLOAT), False)
        """Of each float tensor: whether it is in fp16 now."""
        self.ready: dict[tuple[str, bool], str] = {}
        self.nodes: list[NodeProto] = []

    def rewrite(self) -> None:
        kept = sensitive(self.graph)
        for i, node in enumerate(self.graph.node):
            fp16 = self._fp16(node, i in kept)
            for place, name in enumerate(node.input):
                if name in self.native:
                    node.input[place] = self._as(name, fp16 and place not in _ALWAYS_FLOAT.get(node.op_type, ()))
            self.nodes.append(node)
            for name in node.output:
                if name in self.native:
                    self.native[name] = fp16
        self._give_outputs_back()
        used = {name for node in self.nodes for name in node.input}
        weights = [tensor for tensor in self.weights.values() if tensor.name in used]
        replace(self.graph, self.nodes, weights)
        for value in self.graph.value_info:
            if self.native.get(value.name, False):
                value.type.tensor_type.elem_type = TensorProto.FLOAT16

    def _fp16(self, node: NodeProto, kept: bool) -> bool:
        """Whether a node is to work on fp16."""
        if node.op_type in _LAYOUT:
            return any(self.native.get(name, False) for name in node.input)
        return node.op_type in _COMPUTES and not kept

    def _as(self, name: str, fp16: bool) -> str:
        """The name of a float tensor in the wished type; what is not there in it is cast, or stored, once."""
        if self.native[name] == fp16:
            return name
        key = (name, fp16)
        if key not in self.ready:
            self.ready[key] = f"{name}:{'fp16' if fp16 else 'fp32'}"
            if name in self.weights:
                self.weights[self.ready[key]] = self._halved(self.weights[name], self.ready[key])
            else:
                to = TensorProto.FLOAT16 if fp16 else TensorProto.FLOAT
                self.nodes.append(helper.make_node("Cast", [name], [self.ready[key]], name=self.ready[key], to=to))
        return self.ready[key]

    def _halved(self, weight: TensorProto, name: str) -> TensorProto:
        values = numpy_helper.to_array(weight)
        finite = values[np.isfinite(values)]
        if finite.size and float(np.abs(finite).max()) > LARGEST:
            raise ValueError(f"{self.where}: {weight.name} holds {np.abs(finite).max():.4g}, beyond fp16's {LARGEST:g}")
        return numpy_helper.from_array(values.astype(np.float16), name)

    def _give_outputs_back(self) -> None:
        """Outputs in float32 under their old names."""
        for value in self.graph.output:
            if not self.native.get(value.name, False):
                continue
            inner = f"{value.name}:inner"
            for node in self.nodes:
                for names in (node.input, node.output):
                    names[:] = [inner if name == value.name else name for name in names]
            self.nodes.append(helper.make_node("Cast", [inner], [value.name], name=inner, to=TensorProto.FLOAT))

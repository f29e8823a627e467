"""A graph made plain before its precision is changed: weights where they are used, no functions, no control flow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, inliner, numpy_helper
from onnx.reference import ReferenceEvaluator

_RESHAPES = frozenset({"Reshape", "Transpose", "Squeeze", "Unsqueeze", "Identity"})


def plain(model: bytes, where: str) -> ModelProto:
    """The serialised ONNX model (`where` names it in errors), read and rewritten to the same function.

    Calls of its own functions are written out; constants that are nodes, and weights that are only reshaped or turned
    before their use, become stored tensors. Raises ValueError for control flow, whose inner graphs are not looked into.
    """
    proto = onnx.load_from_string(model)
    if proto.functions:
        proto = inliner.inline_local_functions(proto)
    nested = (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS)
    for node in proto.graph.node:
        if any(attribute.type in nested for attribute in node.attribute):
            raise ValueError(f"{where}: the operator {node.op_type} holds a graph of its own; leave it at fp32")
    _store(proto)
    return proto


def _store(model: ModelProto) -> None:
    """Compute what needs no input, in place."""
    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    outputs = {value.name for value in graph.output}
    nodes = []
    for node in graph.node:
        value = next((attribute.t for attribute in node.attribute if attribute.name == "value"), None)
        if node.op_type == "Constant" and value is not None:
            weights[node.output[0]] = _renamed(value, node.output[0])
        elif (
            node.op_type in _RESHAPES and node.output[0] not in outputs and all(name in weights for name in node.input)
        ):
            weights[node.output[0]] = _computed(node, [weights[name] for name in node.input], model)
        else:
            nodes.append(node)
    used = {name for node in nodes for name in node.input} | outputs
    kept = [tensor for name, tensor in weights.items() if name in used]
    replace(graph, nodes, kept)


def replace(graph: GraphProto, nodes: Sequence[NodeProto], weights: Sequence[TensorProto]) -> None:
    """Other nodes and weights for a graph. Shapes that are stored of what is still made stay: ONNX Runtime joins some
    operators only where it knows them, and another choice rounds otherwise."""
    made = {name for node in nodes for name in node.output}
    values = [value for value in graph.value_info if value.name in made]
    for field, kept in (("node", [*nodes]), ("initializer", [*weights]), ("value_info", values)):
        graph.ClearField(field)
        getattr(graph, field).extend(kept)


def _computed(node: NodeProto, inputs: list[TensorProto], model: ModelProto) -> TensorProto:
    """The one output of a node of stored inputs."""
    value = helper.make_tensor_value_info(node.output[0], inputs[0].data_type, None)
    alone = helper.make_model(
        helper.make_graph([node], "alone", [], [value], inputs),
        opset_imports=model.opset_import,
        ir_version=model.ir_version,
    )
    outputs: Any = ReferenceEvaluator(alone).run(None, {})
    return numpy_helper.from_array(outputs[0], node.output[0])


def _renamed(tensor: TensorProto, name: str) -> TensorProto:
    renamed = TensorProto()
    renamed.CopyFrom(tensor)
    renamed.name = name
    return renamed

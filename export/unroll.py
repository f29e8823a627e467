"""All steps of a grid and the decoder in one graph: `generate_<N>.onnx`.

One run of it makes what a loop of N jumps through the runtime makes, to the same bits. It saves the way between two
steps; the steps themselves stay what they are, and rows of different requests cannot share it, so a server does not
use it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from export.check import graph_jump
from export.precision.plain import plain
from export.runtime.engines.session import open_session
from export.runtime.grids import Grid
from export.runtime.manifest import Manifest, decode_file, jump_file, unrolled_file
from export.runtime.sampler import sample
from export.runtime.unrolled import Unrolled

SAMPLES = 7
"""On which a graph is compared with the loop."""


def unroll_checked(manifest: Manifest, jump: bytes, decode: bytes | None, counts: Sequence[int]) -> dict[str, bytes]:
    """The graph for each step count in `counts`, by file name, from the serialised jump and decoder.

    Raises ValueError for a count without a grid, a graph that cannot be unrolled, and one whose samples are not those
    of the loop, byte for byte.
    """
    files = {}
    for steps in dict.fromkeys(counts):
        grid = manifest.grid(steps)
        file = unrolled_file(steps)
        files[file] = unroll(jump, decode, grid, manifest.z_shape)
        _check(manifest, jump, decode, steps, files[file])
    return files


def unroll(jump: bytes, decode: bytes | None, grid: Grid, z_shape: Sequence[int]) -> bytes:
    """The serialised graph (z, label[, guidance][, noise]) -> image u8 [B, H, W, 3], or z at t = 0 without a decoder.

    `noise` f32 [B, K, *z_shape] is there where K > 0 of the steps add noise, and holds theirs in order. Raises
    ValueError if the two graphs are of different opsets.
    """
    model = plain(jump, jump_file("fp32"))
    inputs = {value.name: value for value in model.graph.input}
    weights = [*model.graph.initializer]
    shared = frozenset(tensor.name for tensor in weights)
    batch = helper.make_node("Shape", ["z"], ["batch"], start=0, end=1)
    nodes: list[NodeProto] = [batch]
    values: list[ValueInfoProto] = []
    z, drawn = "z", 0
    for number, step in enumerate(grid, start=1):
        constants = {"t": step.t, "s": step.s, "a": step.a, "b": step.b}
        names = {name: f"own{number}:{name}" for name in (*constants, "jumped", "next")}
        weights += [
            numpy_helper.from_array(np.array([value], dtype=np.float32), names[name])
            for name, value in constants.items()
        ]
        times = {name: f"{names[name]}:rows" for name in ("t", "s")}
        nodes += [helper.make_node("Expand", [names[name], "batch"], [rows]) for name, rows in times.items()]
        renamed = {"z": z, "z_s": names["jumped"], "label": "label", "guidance": "guidance", **times}
        nodes += _copies(model.graph, renamed, f"step{number}:", shared, values)
        z = names["jumped"]
        if step.a != 1.0 or step.b:
            nodes.append(helper.make_node("Mul", [z, names["a"]], [z := f"{names['next']}:scaled"]))
        if step.b:
            place = f"{names['b']}:place"
            weights.append(numpy_helper.from_array(np.array(drawn, dtype=np.int64), place))
            drawn += 1
            fresh, spread = f"{names['b']}:noise", f"{names['b']}:spread"
            nodes.append(helper.make_node("Gather", ["noise", place], [fresh], axis=1))
            nodes.append(helper.make_node("Mul", [names["b"], fresh], [spread]))
            nodes.append(helper.make_node("Add", [z, spread], [z := names["next"]]))
    kept = [inputs[name] for name in ("z", "label", "guidance") if name in inputs]
    if drawn:
        kept.append(helper.make_tensor_value_info("noise", TensorProto.FLOAT, ["batch", drawn, *z_shape]))
    output = helper.make_tensor_value_info("z_0", TensorProto.FLOAT, ["batch", *z_shape])
    if decode is not None:
        decoder = plain(decode, decode_file("fp32"))
        _check_opsets(model, decoder)
        output = decoder.graph.output[0]
        nodes += _copies(decoder.graph, {"z": z, output.name: output.name}, "decode:", frozenset(), values)
        weights += [_named(tensor, f"decode:{tensor.name}") for tensor in decoder.graph.initializer]
    else:
        nodes.append(helper.make_node("Identity", [z], [output.name]))
    graph = helper.make_graph(nodes, "generate", kept, [output], weights, value_info=values)
    unrolled = helper.make_model(
        graph, opset_imports=model.opset_import, ir_version=model.ir_version, producer_name="longjump"
    )
    onnx.checker.check_model(unrolled, full_check=True)
    return bytes(unrolled.SerializeToString(deterministic=True))


def _copies(
    graph: GraphProto, renamed: Mapping[str, str], prefix: str, shared: frozenset[str], values: list[ValueInfoProto]
) -> list[NodeProto]:
    """The nodes of a graph with its ends renamed and all else prefixed but what is shared: a jump's weights.

    What the graph says of shapes is added to `values`.
    """

    def name_of(name: str) -> str:
        return name if not name or name in shared else renamed.get(name, f"{prefix}{name}")

    copies = []
    for place, node in enumerate(graph.node):
        copy = NodeProto()
        copy.CopyFrom(node)
        copy.name = f"{prefix}{place}:{node.op_type}"
        copy.input[:] = [name_of(name) for name in node.input]
        copy.output[:] = [name_of(name) for name in node.output]
        copies.append(copy)
    for value in graph.value_info:
        known = ValueInfoProto()
        known.CopyFrom(value)
        known.name = name_of(value.name)
        values.append(known)
    return copies


def _named(tensor: TensorProto, name: str) -> TensorProto:
    copy = TensorProto()
    copy.CopyFrom(tensor)
    copy.name = name
    return copy


def _check_opsets(jump: ModelProto, decode: ModelProto) -> None:
    ours, theirs = ({item.domain: item.version for item in model.opset_import} for model in (jump, decode))
    if any(ours.get(domain) != version for domain, version in theirs.items()):
        raise ValueError(f"--unroll: the jump is of opset {ours}, the decoder of {theirs}; export both with one")


def _check(manifest: Manifest, jump: bytes, decode: bytes | None, steps: int, model: bytes) -> None:
    """Raise ValueError unless a graph makes what the loop makes, alone and in company."""
    loop = graph_jump(open_session(jump, jump_file("fp32")))
    seeds, labels = range(SAMPLES), [i % (manifest.null_label + 1) for i in range(SAMPLES)]
    scale = None if manifest.guidance is None else manifest.guidance.default
    z = sample(loop, manifest.z_shape, manifest.grid(steps), seeds, labels, scale)
    wanted = z if decode is None else open_session(decode, "the decode graph").run(None, {"z": z})[0]
    unrolled = Unrolled(model, manifest, steps)
    for batch in (1, SAMPLES):
        if unrolled.generate(seeds, labels, scale, batch).tobytes() != wanted.tobytes():
            raise ValueError(
                f"--unroll {steps}: in batches of {batch} its samples are not the loop's to the last bit; leave it out"
            )

"""A graph in fp16 keeps in float32 what decides the result at once: its ends, the times, the statistics of norms.

What a machine with fp16 computes is emulated: ONNX Runtime's CPU kernels leave most roundings out.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

import export.precision.half as half_module
from export.check import BATCHES, Rows, check_jump_signature, graph_jump, trial_rows
from export.graph import build_jump
from export.precision.emulate import emulate
from export.precision.half import half
from export.runtime.engines.session import open_session
from export.runtime.grids import Span
from models.build import DiTArchitecture, MLPArchitecture, UNetArchitecture, build

LABELS = 3

MAPS = {
    "dit": (DiTArchitecture(width=32, depth=2, heads=2, parametrisation="raw"), (3, 8, 8), "any", False),
    "edm": (DiTArchitecture(width=32, depth=2, heads=2, parametrisation="edm"), (3, 8, 8), "any", True),
    "unet": (UNetArchitecture(channels=32, multipliers=(1, 2), blocks=1), (1, 16, 16), "velocity", False),
    "mlp": (MLPArchitecture(width=64, depth=2), (2,), "endpoint", False),
}


@pytest.fixture(scope="module", params=MAPS)
def graph(request: pytest.FixtureRequest) -> tuple[bytes, tuple[int, ...], Span, bool]:
    """The jump of a network with random weights: model, shape of z, span, guided."""
    architecture, shape, span, guided = MAPS[request.param]
    torch.manual_seed(0)
    flow_map = build(architecture, shape, LABELS, span, guidance=guided)
    for parameter in flow_map.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return build_jump(flow_map, shape, LABELS, guided), shape, span, guided


def rows_of(graph: tuple[bytes, tuple[int, ...], Span, bool], count: int) -> Rows:
    """Rows as the graph takes them, the guidance all over the place."""
    _, shape, span, guided = graph
    rows = trial_rows(count, shape, LABELS, span)
    return Rows(rows.z, rows.t, rows.s, rows.label, np.linspace(0.5, 4, count, dtype=np.float32) if guided else None)


def error(model: bytes, other: bytes, rows: Rows) -> float:
    """The largest difference of two graphs' jumps, in units of their typical size."""
    one, two = (rows.through(graph_jump(open_session(each, "graph", 1))) for each in (model, other))
    return float(np.abs(one - two).max() / np.sqrt(np.square(one).mean()))


def test_it_is_the_same_jump_with_half_the_weights(graph: tuple[bytes, tuple[int, ...], Span, bool]) -> None:
    model, shape, _, guided = graph
    halved = half(model)
    check_jump_signature(open_session(halved, "halved", 1), "halved", shape, guided)
    check_jump_signature(open_session(emulate(halved), "emulated", 1), "emulated", shape, guided)
    numbers: Counter[int] = Counter()
    for tensor in onnx.load_from_string(halved).graph.initializer:
        numbers[tensor.data_type] += math.prod(tensor.dims)
    assert numbers[TensorProto.FLOAT16] > numbers[TensorProto.FLOAT]
    for batch in BATCHES:
        assert error(model, emulate(halved), rows_of(graph, batch)) < 0.01


def test_no_step_is_no_movement(
    graph: tuple[bytes, tuple[int, ...], Span, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """z - (t - s) u leaves z alone at s = t to the last bit, which a z that went through fp16 would not survive."""
    model, *_ = graph
    rows = rows_of(graph, 4)
    still = Rows(rows.z, rows.t, rows.t, rows.label, rows.guidance)
    assert np.array_equal(still.through(graph_jump(open_session(emulate(half(model)), "halved", 1))), rows.z)
    monkeypatch.setattr(half_module, "sensitive", lambda graph: frozenset())
    assert not np.array_equal(still.through(graph_jump(open_session(emulate(half(model)), "blunt", 1))), rows.z)


def test_close_times_are_told_apart(
    graph: tuple[bytes, tuple[int, ...], Span, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """fp16 has two numbers between 0.998 and 1, and this asks for eight."""
    model, *_ = graph
    rows = rows_of(graph, 8)
    z, scale = np.repeat(rows.z[:1], 8, axis=0), None if rows.guidance is None else rows.guidance[:1].repeat(8)
    times = np.linspace(0.998, 1, 8, dtype=np.float32)
    close = Rows(z, times, np.zeros_like(times), rows.label[:1].repeat(8), scale)

    def different(model: bytes) -> int:
        z_s = close.through(graph_jump(open_session(emulate(half(model)), "halved", 1)))
        return len(np.unique(z_s.reshape(8, -1), axis=0))

    assert different(model) == 8
    monkeypatch.setattr(half_module, "sensitive", lambda graph: frozenset())
    assert different(model) < 8


def test_what_blunt_rounding_costs(
    graph: tuple[bytes, tuple[int, ...], Span, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, *_ = graph
    rows = rows_of(graph, 7)
    careful = error(model, emulate(half(model)), rows)
    monkeypatch.setattr(half_module, "sensitive", lambda graph: frozenset())
    assert error(model, emulate(half(model)), rows) > careful


def test_a_decoder_stays_what_it_is(make_bundle: Callable) -> None:
    model = make_bundle().read("decode.fp32.onnx")
    z = np.linspace(-2, 2, 2 * 3 * 4 * 4, dtype=np.float32).reshape(2, 3, 4, 4)
    images = [open_session(each, "decode", 1).run(None, {"z": z})[0] for each in (model, half(model))]
    assert np.array_equal(*images)


def test_a_weight_beyond_fp16_is_named() -> None:
    with pytest.raises(ValueError, match=r"mine: w1 holds 1e\+06, beyond fp16's 65504"):
        half(_three_products(weight=1e6), "mine")
    assert half(_three_products(weight=1.0))


def test_control_flow_is_refused() -> None:
    branch = helper.make_graph(
        [helper.make_node("Identity", ["z"], ["out"])], "branch", [], [helper.make_tensor_value_info("out", 1, None)]
    )
    graph = helper.make_graph(
        [helper.make_node("If", ["which"], ["z_s"], then_branch=branch, else_branch=branch)],
        "jump",
        [helper.make_tensor_value_info("z", 1, ["B", 2]), helper.make_tensor_value_info("which", TensorProto.BOOL, [])],
        [helper.make_tensor_value_info("z_s", 1, ["B", 2])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    with pytest.raises(ValueError, match="mine: the operator If holds a graph of its own"):
        half(model.SerializeToString(), "mine")


def _three_products(weight: float) -> bytes:
    """z -> z w0 w1 w2: the middle one is none of the ends."""
    nodes = [
        helper.make_node("MatMul", [f"z{i}" if i else "z", f"w{i}"], [f"z{i + 1}" if i < 2 else "z_s"])
        for i in range(3)
    ]
    weights = [onnx.numpy_helper.from_array(np.full((2, 2), weight, dtype=np.float32), f"w{i}") for i in range(3)]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["B", 2]) for name in ("z", "z_s")]
    graph = helper.make_graph(nodes, "jump", ends[:1], ends[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return bytes(model.SerializeToString())

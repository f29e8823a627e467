"""What a graph takes at least is what its network takes by torch's own count, in every batch."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from export.runtime.arithmetic import Work, count
from export.runtime.bundle import Bundle
from export.runtime.engines.trial import zeros
from models.build import DiTArchitecture, MLPArchitecture, build
from models.cost import flops


def work_of(bundle: Bundle, rows: int) -> Work:
    inputs = zeros(bundle.manifest, rows)._asdict()
    feed = {name: value for name, value in inputs.items() if value is not None}
    return count(bundle.read("jump.fp32.onnx"), feed)


@pytest.mark.parametrize("rows", [1, 3])
def test_it_is_torchs_count(exported_image: Bundle, exported_points: Bundle, rows: int) -> None:
    dit = build(DiTArchitecture(width=16, depth=1, heads=2, parametrisation="edm"), (3, 8, 8), 2, "any")
    mlp = build(MLPArchitecture(width=16, depth=2), (2,), 0, "any")
    assert work_of(exported_image, rows).flops == rows * flops(dit, (3, 8, 8))
    assert work_of(exported_points, rows).flops == rows * flops(mlp, (2,))


def test_weights_are_no_activations_which_grow_with_the_rows(exported_image: Bundle) -> None:
    one, four = work_of(exported_image, 1), work_of(exported_image, 4)
    assert (four.weights, four.activations) == (one.weights, 4 * one.activations)


def test_convolutions_are_counted() -> None:
    """3x3 from 4 to 6 channels in 2 groups at 8x8 and back up to 16x16, by hand."""
    nodes = [
        helper.make_node("Conv", ["z", "down"], ["middle"], pads=[1, 1, 1, 1], group=2),
        helper.make_node("ConvTranspose", ["middle", "up"], ["out"], strides=[2, 2]),
    ]
    weights = {"down": np.zeros((6, 2, 3, 3), np.float32), "up": np.zeros((6, 5, 2, 2), np.float32)}
    graph = helper.make_graph(
        nodes,
        "both",
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, ["B", 4, 8, 8])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["B", 5, 16, 16])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    found = count(model.SerializeToString(), {"z": np.zeros((2, 4, 8, 8), np.float32)})
    down, up = 2 * (6 * 8 * 8) * (2 * 3 * 3), 2 * (6 * 8 * 8) * (5 * 2 * 2)
    assert found.flops == 2 * (down + up)
    assert found.activations == 4 * 2 * (4 * 64 + 6 * 64 + 6 * 64 + 5 * 256)


def test_what_does_not_run_is_named() -> None:
    with pytest.raises(ValueError, match=r"mine\.onnx cannot be counted"):
        count(b"\x00", {}, "mine.onnx")

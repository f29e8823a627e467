"""The decode graph of pixel models: z f32 [B, C, H, W] in [-1, 1] -> u8 [B, H, W, 3]. Built without torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 20
IR_VERSION = 10


def build_decode(z_shape: Sequence[int]) -> bytes:
    """The ONNX model: u8 = round(clip(127.5 z + 127.5, 0, 255)), NCHW -> NHWC, one channel replicated to RGB.

    `z_shape` is [C, H, W] with C 1 or 3, else ValueError. Halves round to even, as numpy does.
    """
    if len(z_shape) != 3 or z_shape[0] not in (1, 3):
        raise ValueError(f"pixels are [C, H, W] with C 1 or 3, got {list(z_shape)}; give a decode graph")
    channels, height, width = z_shape
    constants = {
        "half_range": np.float32(127.5),
        "black": np.float32(0),
        "white": np.float32(255),
    }
    nodes = [
        helper.make_node("Mul", ["z", "half_range"], ["scaled"]),
        helper.make_node("Add", ["scaled", "half_range"], ["shifted"]),
        helper.make_node("Clip", ["shifted", "black", "white"], ["clipped"]),
        helper.make_node("Round", ["clipped"], ["rounded"]),
        helper.make_node("Transpose", ["rounded"], ["pixels"], perm=[0, 2, 3, 1]),
    ]
    initializers = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    last = "pixels"
    if channels == 1:
        initializers.append(numpy_helper.from_array(np.array([1, 1, 1, 3], dtype=np.int64), "repeats"))
        nodes.append(helper.make_node("Tile", ["pixels", "repeats"], ["rgb"]))
        last = "rgb"
    nodes.append(helper.make_node("Cast", [last], ["image"], to=TensorProto.UINT8))
    graph = helper.make_graph(
        nodes,
        "decode",
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, ["batch", *z_shape])],
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", height, width, 3])],
        initializers,
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="longjump"
    )
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))

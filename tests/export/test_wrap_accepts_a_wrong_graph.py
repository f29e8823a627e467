"""`longjump bundle` takes a graph with the right signature that runs, and no other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import longjump
from export.runtime.bundle import open_bundle
from export.runtime.engines import open_engine
from export.runtime.grids import renoise_grid
from export.runtime.manifest import Guidance
from export.runtime.noise import normal
from export.wrap import make_grids, parse_guidance, parse_labels, parse_shape, parse_steps, wrap

MakeJump = Callable[..., onnx.ModelProto]
SHAPE = (3, 4, 4)


@pytest.fixture
def wrapped(make_jump: MakeJump, tmp_path: Path) -> Callable[..., Any]:
    """Wraps a toy graph: wrapped({graph keywords}, **wrap keywords)."""

    def run(graph: dict[str, Any] | None = None, **keywords: Any) -> Any:
        path = tmp_path / "jump.onnx"
        path.write_bytes(make_jump(**(graph or {})).SerializeToString())
        return wrap(path, tmp_path / "out", **({"z_shape": SHAPE, "labels": ["a", "b"], "span": "any"} | keywords))

    return run


def test_a_right_graph_is_taken(wrapped: Callable[..., Any]) -> None:
    manifest = wrapped(method="by hand", licence="MIT").manifest
    assert (manifest.kind, manifest.image_shape, manifest.labels) == ("image", (4, 4, 3), ["a", "b"])
    assert (manifest.steps, manifest.span, manifest.batch_invariant) == ([1, 2, 4, 8], "any", {"fp32": True})
    assert (manifest.name, manifest.method, manifest.licence) == ("out", "by hand", "MIT")
    assert manifest.provenance["wrapped"]["file"] == "jump.onnx"
    assert manifest.engines[0].state == "executed"


@pytest.mark.parametrize(
    ("graph", "keywords", "message"),
    [
        ({"rename": {"s": "r"}}, {}, "has the inputs z, t, r, label; it must have z, t, s, label"),
        ({"output": "x"}, {}, "has the outputs x; it must have one, z_s"),
        ({"label_type": TensorProto.INT32}, {}, r"input label is tensor\(int32\)"),
        ({}, {"z_shape": (3, 4, 5)}, r"input z is tensor\(float\) .*must be tensor\(float\) \[batch, 3, 4, 5\]"),
        ({"z_shape": (2,)}, {}, "input z is"),
        ({"batch": 1}, {}, "the batch of input z is fixed to 1"),
        ({"guidance": True}, {}, "has an input guidance: give its range"),
        ({}, {"guidance": Guidance(min=1, max=2, default=1)}, "it must have z, t, s, label, guidance"),
        ({"last": "velocity"}, {}, "moves z by .* when s = t.*average velocity"),
        ({"last": "infinite"}, {}, "not finite at batch 1"),
        ({}, {"span": "endpoint", "grids": make_grids("any", (2,))}, "outside the span 'endpoint'"),
        ({}, {"name": "../x"}, "must be plain"),
        ({}, {"labels": ["a", "a"]}, "distinct"),
    ],
)
def test_a_wrong_one_is_refused(
    wrapped: Callable[..., Any], tmp_path: Path, graph: dict[str, Any], keywords: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        wrapped(graph, **keywords)
    assert [path.name for path in tmp_path.iterdir()] == ["jump.onnx"]


def test_a_graph_without_the_null_label_is_refused(make_jump: MakeJump, tmp_path: Path) -> None:
    model = make_jump()
    # An embedding with a row for each of two labels, and none for "no label".
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(2, dtype=np.float32), "table"))
    model.graph.node[0].CopyFrom(helper.make_node("Gather", ["table", "label"], ["label_f"]))
    (tmp_path / "jump.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ValueError, match=r"fails at batch 1, labels \[2\] \(2 is the null label\): .*Gather"):
        wrap(tmp_path / "jump.onnx", tmp_path / "out", z_shape=SHAPE, labels=["a", "b"], span="any")
    assert not (tmp_path / "out").exists()
    wrap(tmp_path / "jump.onnx", tmp_path / "out", z_shape=SHAPE, labels=["a"], span="any")


def test_a_map_that_only_knows_endpoints_may_move_z_at_s_equal_t(wrapped: Callable[..., Any]) -> None:
    assert wrapped({"last": "velocity"}, span="endpoint").manifest.grid(2) == renoise_grid([1.0, 0.5])


def test_guidance_becomes_part_of_the_bundle(wrapped: Callable[..., Any]) -> None:
    scale = Guidance(min=1, max=4, default=1.5, rows_per_step=2)
    bundle = wrapped({"guidance": True}, guidance=scale)
    assert bundle.manifest.guidance == scale
    open_engine(bundle, 1).warm()


def test_points_are_wrapped(wrapped: Callable[..., Any]) -> None:
    manifest = wrapped({"z_shape": (2,)}, z_shape=(2,), labels=[]).manifest
    assert (manifest.kind, manifest.image_shape, list(manifest.files)) == ("points", None, ["jump.fp32.onnx"])


def decode_graph(type_: int = TensorProto.UINT8, channels: int = 3) -> bytes:
    """A decoder that doubles each side: nearest neighbours, no scale."""
    graph = helper.make_graph(
        [
            helper.make_node("Resize", ["z", "", "scales"], ["large"], mode="nearest"),
            helper.make_node("Transpose", ["large"], ["rows"], perm=[0, 2, 3, 1]),
            helper.make_node("Cast", ["rows"], ["pixels"], to=type_),
        ],
        "decode",
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, ["n", channels, 4, 4])],
        [helper.make_tensor_value_info("pixels", type_, ["n", None, None, None])],
        [numpy_helper.from_array(np.array([1, 1, 2, 2], dtype=np.float32), "scales")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10).SerializeToString()


def test_a_decoder_of_its_own_sets_the_image_shape(wrapped: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "decode.onnx").write_bytes(decode_graph())
    bundle = wrapped(decode=tmp_path / "decode.onnx")
    assert bundle.manifest.image_shape == (8, 8, 3)
    assert open_engine(bundle, 1).decode(normal(0, 0, (2, *SHAPE)) ** 2).shape == (2, 8, 8, 3)


def test_a_wrong_decoder_is_refused(wrapped: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "decode.onnx").write_bytes(decode_graph(TensorProto.INT32))
    with pytest.raises(ValueError, match=r"gives int32 .*must give uint8 \[1, H, W, 3\]"):
        wrapped(decode=tmp_path / "decode.onnx")
    (tmp_path / "decode.onnx").write_bytes(decode_graph(channels=4))
    with pytest.raises(ValueError, match="input z is"):
        wrapped(decode=tmp_path / "decode.onnx")
    with pytest.raises(ValueError, match="points are not decoded"):
        wrapped({"z_shape": (2,)}, z_shape=(2,), decode=tmp_path / "decode.onnx")


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x0a\xff"])
def test_what_is_no_model_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "jump.onnx").write_bytes(content)
    with pytest.raises(ValueError, match=r"jump\.onnx"):
        wrap(tmp_path / "jump.onnx", tmp_path / "out", z_shape=SHAPE, labels=[], span="any")


def test_what_the_exporter_wrote_is_stripped(make_jump: MakeJump, tmp_path: Path) -> None:
    model = make_jump()
    model.doc_string = model.graph.node[0].doc_string = "/home/someone/secret.py"
    model.graph.node[1].metadata_props.add(key="trace", value="/home/someone/secret.py")
    (tmp_path / "jump.onnx").write_bytes(model.SerializeToString())
    bundle = wrap(tmp_path / "jump.onnx", tmp_path / "out", z_shape=SHAPE, labels=[], span="any")
    assert b"secret" in (tmp_path / "jump.onnx").read_bytes()
    assert b"secret" not in bundle.read("jump.fp32.onnx")


def test_the_command_as_the_issue_writes_it(
    make_jump: MakeJump, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    graph, out = tmp_path / "jump.onnx", tmp_path / "out"
    graph.write_bytes(make_jump((3, 32, 32)).SerializeToString())
    command = ["bundle", str(graph), "--image", "3x32x32", "--labels", "10", "--span", "any", "--out", str(out)]
    assert longjump.main(command) == 0
    assert "the same bits in every batch of 1 to 16" in capsys.readouterr().out
    assert open_bundle(out).manifest.labels == [str(i) for i in range(10)]
    assert longjump.main(command) == 2
    assert "out exists" in capsys.readouterr().err
    assert longjump.main([*command, "--force", "--steps", "1,3"]) == 0
    assert open_bundle(out).manifest.steps == [1, 3]


def test_arguments_are_read() -> None:
    assert parse_shape("3x32x64", 3) == (3, 32, 64)
    assert parse_labels("cat, dog") == ["cat", "dog"]
    assert parse_labels("0") == []
    assert parse_steps("4,1") == (4, 1)
    assert parse_guidance("1:4:1.5", 2) == Guidance(min=1, max=4, default=1.5, rows_per_step=2)


@pytest.mark.parametrize(
    ("parse", "message"),
    [
        (lambda: parse_shape("32x32", 3), "write --image CxHxW"),
        (lambda: parse_shape("3x0x2", 3), "not a shape"),
        (lambda: parse_shape("2x2", 1), "write --points D"),
        (lambda: parse_steps("1,,2"), "write it like 1,2,4"),
        (lambda: parse_steps("0"), "not a list of step counts"),
        (lambda: parse_guidance("4:1:2", 1), "MIN <= DEFAULT <= MAX"),
        (lambda: parse_guidance("1:4", 1), "not MIN:MAX:DEFAULT"),
        (lambda: parse_guidance("a:b:c", 1), "not MIN:MAX:DEFAULT"),
    ],
)
def test_wrong_arguments_say_what_is_right(parse: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse()

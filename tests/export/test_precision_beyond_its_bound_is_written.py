"""A further precision goes into a bundle only with its measured error, and not beyond its bound unless forced."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

import longjump
from export.assemble import extend
from export.check import graph_jump
from export.precision import accuracy as accuracy_module
from export.precision import forms as forms_module
from export.precision.accuracy import BOUNDS, Bound
from export.precision.parts import PRODUCTS
from export.precision.visits import walk
from export.runtime.accuracy import Accuracy
from export.runtime.bundle import Bundle, open_bundle
from export.runtime.engines.session import open_session
from export.runtime.manifest import FORMAT

ALL = ("fp32", "fp16", "int8")


@pytest.fixture(scope="module")
def extended(exported_image: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The exported image bundle in all precisions; random weights are beyond int8's bound."""
    out = tmp_path_factory.mktemp("precisions") / "all"
    return extend(exported_image, out, precisions=ALL, force_precision=True)


def test_each_has_a_graph_an_engine_and_its_error(exported_image: Bundle, extended: Bundle) -> None:
    manifest = open_bundle(extended.path).manifest
    assert (manifest.format, manifest.name) == (FORMAT, exported_image.manifest.name)
    assert manifest.precisions == list(ALL)
    assert [(entry.precision, entry.file) for entry in manifest.engines] == [(p, f"jump.{p}.onnx") for p in ALL]
    assert set(manifest.batch_invariant) == set(ALL)
    assert extended.read("jump.fp32.onnx") == exported_image.read("jump.fp32.onnx")
    for precision, other in (("fp16", "int8"), ("int8", "fp16")):
        found = manifest.accuracy[precision]
        assert (found.emulated, set(found.ends)) == (precision == "fp16", {"1", "2", "4"})
        assert 0 < found.jump.rms <= found.jump.max
        assert extended.read(f"jump.{precision}.onnx") != extended.read(f"jump.{other}.onnx")
    assert manifest.accuracy["fp16"].jump.rms < manifest.accuracy["int8"].jump.rms
    assert "decode.fp16.onnx" not in manifest.files, "a decoder without layers has no other precision"


def test_the_error_is_that_of_the_graph(extended: Bundle) -> None:
    jumps = {p: graph_jump(open_session(extended.read(f"jump.{p}.onnx"), p, 1)) for p in ("fp32", "int8")}
    walked = walk(jumps["fp32"], extended.manifest, accuracy_module.FIRST_SEED)
    apart = np.concatenate([rows.through(jumps["int8"]) - rows.through(jumps["fp32"]) for rows in walked.visited])
    found = extended.manifest.accuracy["int8"].jump
    assert found.max == pytest.approx(np.abs(apart).max(), rel=1e-5)
    assert found.rms == pytest.approx(np.sqrt(np.square(apart, dtype=np.float64).mean()), rel=1e-5)
    assert found.rows == len(apart)


def test_int8_leaves_the_ends_and_attention_alone(extended: Bundle) -> None:
    """Layers whose weights are stored in 8 bits: those of the block, and no other."""
    graph = onnx.load_from_string(extended.read("jump.int8.onnx")).graph
    made = {name: node for node in graph.node for name in node.output}
    products = [node for node in graph.node if node.op_type in PRODUCTS]
    eight_bit = [
        node for node in products if (source := made.get(node.input[1])) and source.op_type == "DequantizeLinear"
    ]
    # Of the one block: its modulation, query-key-value, output and two of the perceptron; and the last modulation.
    assert len(eight_bit) == 6
    assert "z_s" not in {name for node in eight_bit for name in node.output}
    assert len(products) > 6 + 2


def test_rows_walk_the_grids(exported_image: Bundle) -> None:
    manifest = exported_image.manifest
    walked = walk(graph_jump(open_session(exported_image.read("jump.fp32.onnx"), "fp32", 1)), manifest)
    times = {(float(t), float(s)) for rows in walked.visited for t, s in zip(rows.t, rows.s)}
    assert times == {(step.t, step.s) for steps in manifest.steps for step in manifest.grid(steps)}
    assert {int(label) for rows in walked.visited for label in rows.label} == {0, 1, 2}


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_beyond_the_bound_is_refused_unless_forced(
    checkpoints: dict[str, Path],
    exported_image: Bundle,
    tmp_path: Path,
    precision: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(BOUNDS, precision, Bound(jump=1e-9, image=1e-9))
    source = checkpoints["image"] if precision == "fp16" else exported_image.path
    command = ["export", str(source), "--out", str(tmp_path / "out"), "--precision", precision]
    assert longjump.main(command) == 2
    assert f"{precision} is left out and nothing written: its jumps differ" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    assert longjump.main([*command, "--force-precision"]) == 0
    assert "FORCED: beyond its bound" in capsys.readouterr().out
    assert open_bundle(tmp_path / "out").manifest.accuracy[precision].forced
    assert longjump.main(["inspect", str(tmp_path / "out")]) == 0
    assert "FORCED: beyond its bound" in capsys.readouterr().out


def test_a_wrong_graph_is_found_out(exported_image: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound of the real thing: a precision that forgets a bias is refused, the right one is taken."""

    def forgetful(model: bytes, where: str) -> bytes:
        proto = onnx.load_from_string(half(model, where))
        for tensor in proto.graph.initializer:
            if "blocks.0.mlp.2.bias" in tensor.name:
                nothing = np.zeros_like(onnx.numpy_helper.to_array(tensor))
                tensor.CopyFrom(onnx.numpy_helper.from_array(nothing, tensor.name))
        return proto.SerializeToString()

    half = forms_module.half
    assert not extend(exported_image, tmp_path / "right", precisions=["fp16"]).manifest.accuracy["fp16"].forced
    monkeypatch.setattr(forms_module, "half", forgetful)
    with pytest.raises(ValueError, match="fp16 is left out and nothing written"):
        extend(exported_image, tmp_path / "wrong", precisions=["fp16"])
    assert not (tmp_path / "wrong").exists()


def test_points_have_no_bytes_to_differ(exported_points: Bundle, tmp_path: Path) -> None:
    written = extend(exported_points, tmp_path / "out", precisions=("fp16", "int8"), force_precision=True)
    for found in written.manifest.accuracy.values():
        assert isinstance(found, Accuracy)
        assert all(end.differing is None and end.max > 0 for end in found.ends.values())


def test_a_bundle_gets_a_precision_where_it_is(make_bundle: Callable, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = make_bundle()
    command = ["export", str(bundle.path), "--out", str(bundle.path), "--precision", "fp16", "--licence", "MIT"]
    assert longjump.main(command) == 2
    assert "exists" in capsys.readouterr().err
    assert longjump.main([*command, "--force"]) == 0
    manifest = open_bundle(bundle.path).manifest
    assert (manifest.precisions, manifest.licence, manifest.name) == (["fp32", "fp16"], "MIT", "toy")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--precision", "fp32,bf16"), "--precision fp32,bf16: 'bf16' is none of fp32, fp16, int8"),
        (("--precision", "int8"), "int8 needs a layer between the first and the last one"),
        (("--ema", "0.1"), "is a bundle, in which that is settled"),
    ],
)
def test_a_wrong_wish_says_what_is_right(
    make_bundle: Callable, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str
) -> None:
    bundle = make_bundle()
    assert longjump.main(["export", str(bundle.path), "--out", str(tmp_path / "out"), *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()

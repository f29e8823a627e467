"""Weights that lie outside a graph are found wherever a tensor may stand, and refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from export.runtime.bundle import open_bundle, refuse_external_data, write_bundle
from export.runtime.external_data import external_tensors
from export.runtime.manifest import Manifest
from export.wrap import wrap

MakeJump = Callable[..., onnx.ModelProto]


def outside(name: str) -> TensorProto:
    """A tensor whose data lies in a file of the machine that serves."""
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="../../etc/passwd")
    return tensor


def hide(model: onnx.ModelProto, place: str) -> None:
    """Put such a tensor into one of the places that onnx.proto has for tensors."""
    node = model.graph.node[0]
    if place == "initializer":
        model.graph.initializer.append(outside("secret"))
    elif place == "sparse initializer":
        model.graph.sparse_initializer.add().values.CopyFrom(outside("secret"))
    elif place == "attribute":
        node.attribute.append(helper.make_attribute("value", outside("secret")))
    elif place == "attribute list":
        node.attribute.append(helper.make_attribute("values", [outside("secret")]))
    elif place == "branch":
        branch = helper.make_graph([], "branch", [], [], [outside("secret")])
        node.attribute.append(helper.make_attribute("then_branch", branch))
    elif place == "function":
        inner = helper.make_node("Constant", [], ["c"], value=outside("secret"))
        model.functions.append(helper.make_function("local", "f", [], ["c"], [inner], [helper.make_opsetid("", 20)]))
    elif place == "training":
        model.training_info.add().initialization.initializer.append(outside("secret"))


PLACES = ["initializer", "sparse initializer", "attribute", "attribute list", "branch", "function", "training"]


@pytest.mark.parametrize("place", PLACES)
def test_it_is_found(make_jump: MakeJump, place: str) -> None:
    model = make_jump()
    assert external_tensors(model.SerializeToString()) == []
    hide(model, place)
    assert external_tensors(model.SerializeToString()) == ["secret"]


def test_either_mark_is_enough(make_jump: MakeJump) -> None:
    for keep in ("data_location", "external_data"):
        model, tensor = make_jump(), outside("secret")
        tensor.ClearField("external_data" if keep == "data_location" else "data_location")
        model.graph.initializer.append(tensor)
        assert external_tensors(model.SerializeToString()) == ["secret"]


def test_numbers_that_readers_cut_to_32_bits_hide_nothing(make_jump: MakeJump) -> None:
    tensor = TensorProto(name="secret", data_type=TensorProto.FLOAT, dims=[1], raw_data=bytes(4)).SerializeToString()
    location = b"\x70" + _varint(2**32 + 1)  # field 14, 1 in its lower half
    graph = b"\x2a" + _varint(len(tensor + location)) + tensor + location  # field 5: an initializer
    assert external_tensors(b"\x3a" + _varint(len(graph)) + graph) == ["secret"]
    with pytest.raises(ValueError, match="out of range"):
        external_tensors(_varint(0x3A + 2**32) + _varint(len(graph)) + graph)


def _varint(number: int) -> bytes:
    low, rest = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + _varint(rest) if rest else bytes([low])


def test_the_word_location_alone_is_harmless(make_jump: MakeJump) -> None:
    model = make_jump()
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(3, dtype=np.float32), "location"))
    assert external_tensors(model.SerializeToString()) == []


def test_what_onnx_saves_as_external_is_found(make_jump: MakeJump, tmp_path: Path) -> None:
    model = make_jump()
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(1000, dtype=np.float32), "weights"))
    path = tmp_path / "jump.onnx"
    onnx.save_model(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert "weights" in external_tensors(path.read_bytes())


def test_a_cut_file_is_no_model(make_jump: MakeJump) -> None:
    data = make_jump().SerializeToString()
    with pytest.raises(ValueError, match=r"it is not a readable ONNX model"):
        refuse_external_data(data[:-3], "it")
    with pytest.raises(ValueError, match="wire type"):
        external_tensors(b"\x0b\x0c")


def test_a_bundle_that_has_it_is_refused(make_bundle: Callable, make_jump: MakeJump, tmp_path: Path) -> None:
    manifest: Manifest = make_bundle("honest").manifest
    model = make_jump()
    hide(model, "initializer")
    contents = {file: tmp_path / "honest" / file for file in manifest.files}
    fields = manifest.model_dump(exclude={"files", "digest"})
    with pytest.raises(ValueError, match=r"jump\.fp32\.onnx keeps 1 tensors \(secret\) as ONNX external data"):
        write_bundle(tmp_path / "sly", fields, contents | {"jump.fp32.onnx": model.SerializeToString()})
    assert not (tmp_path / "sly").exists()
    open_bundle(tmp_path / "honest")


def test_wrap_refuses_it(make_jump: MakeJump, tmp_path: Path) -> None:
    model = make_jump()
    hide(model, "initializer")
    (tmp_path / "jump.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ValueError, match="external data"):
        wrap(tmp_path / "jump.onnx", tmp_path / "out", z_shape=(3, 4, 4), labels=[], span="any")
    assert not (tmp_path / "out").exists()

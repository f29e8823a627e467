"""Nothing of the machine that exported a graph is inside it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper

import export.graph
from export.runtime.bundle import Bundle
from export.strip import strip
from models.checkpoint import load_checkpoint

ROOT = Path(__file__).resolve().parents[2]
TRACES = {
    "home": str(Path.home()),
    "checkout": str(ROOT),
    "folder": os.getcwd(),
    "site-packages": "site-packages",
    "source file": ".py",
    "source line": "self.net(z",
    "stack trace": "stack_trace",
    "class": "models.flow_map",
}


def found(data: bytes) -> set[str]:
    return {name for name, text in TRACES.items() if text.encode() in data}


def test_no_trace_in_an_exported_bundle(exported_image: Bundle, exported_points: Bundle) -> None:
    for bundle in (exported_image, exported_points):
        for file in bundle.manifest.files:
            # The weights are few, so that three letters such as ".py" do not come up in them by chance.
            assert found(bundle.read(file)) == set(), file
        manifest = (bundle.path / "manifest.json").read_bytes()
        assert found(manifest) == set()


def test_the_exporter_does_write_them(checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: without strip the same search finds traces."""
    monkeypatch.setattr(export.graph, "strip", lambda model: None)
    flow_map, config = load_checkpoint(checkpoints["points"])
    data = export.graph.build_jump(flow_map, config.shape, len(config.labels))
    assert {"checkout", "source file", "source line", "stack trace", "class"} <= found(data)


def everywhere() -> onnx.ModelProto:
    """A model with a doc string and a property wherever onnx.proto has them."""

    def mark(message: Any) -> Any:
        message.doc_string = "trace.py"
        message.metadata_props.add(key="trace", value="trace.py")
        return message

    def graph(name: str) -> onnx.GraphProto:
        inner = helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.float32(1), "c"))
        mark(inner.attribute[0].t)
        inner.attribute[0].doc_string = "trace.py"
        value = mark(helper.make_tensor_value_info(name, 1, []))
        made = helper.make_graph([mark(inner)], name, [], [value], [mark(numpy_helper.from_array(np.ones(1), "w"))])
        return mark(made)

    outer = graph("outer")
    outer.node.append(mark(helper.make_node("If", ["c"], ["y"], then_branch=graph("yes"), else_branch=graph("no"))))
    function = helper.make_function("f", "g", [], ["c"], [mark(helper.make_node("Identity", ["c"], ["d"]))], [])
    model = helper.make_model(outer, functions=[mark(function)])
    return mark(model)


def test_every_place_is_stripped() -> None:
    model = everywhere()
    assert model.SerializeToString().count(b"trace.py") > 20
    strip(model)
    assert b"trace" not in model.SerializeToString()
    assert len(model.graph.node) == 2
    assert len(model.graph.node[1].attribute) == 2


def test_the_exporter_keeps_quiet(checkpoints: dict[str, Path], capfd: pytest.CaptureFixture[str]) -> None:
    flow_map, config = load_checkpoint(checkpoints["points"])
    before = torch.get_rng_state()
    export.graph.build_jump(flow_map, config.shape, len(config.labels))
    assert capfd.readouterr() == ("", "")
    assert torch.equal(torch.get_rng_state(), before)

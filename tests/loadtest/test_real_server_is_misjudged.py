"""A real server of points: both of its formats, a mix of step counts, and the bytes it promises."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator

import pytest
from onnx import TensorProto, helper, save_model

import longjump
from loadtest.measure import measure
from loadtest.settings import Settings


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`longjump serve` with z_s = z - (t - s) z."""
    folder = tmp_path_factory.mktemp("points")
    inputs = [helper.make_tensor_value_info("z", TensorProto.FLOAT, ["batch", 2])]
    inputs += [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch"]) for name in ("t", "s")]
    inputs += [helper.make_tensor_value_info("label", TensorProto.INT64, ["batch"])]
    nodes = [
        helper.make_node("Sub", ["t", "s"], ["span"]),
        helper.make_node("Reshape", ["span", "column"], ["span_column"]),
        helper.make_node("Mul", ["span_column", "z"], ["step"]),
        helper.make_node("Sub", ["z", "step"], ["z_s"]),
    ]
    outputs = [helper.make_tensor_value_info("z_s", TensorProto.FLOAT, ["batch", 2])]
    column = helper.make_tensor("column", TensorProto.INT64, [2], [-1, 1])
    graph = helper.make_graph(nodes, "jump", inputs, outputs, [column])
    save_model(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), folder / "jump.onnx"
    )
    wrapping = ["--points", "2", "--labels", "3", "--span", "any", "--out", str(folder / "bundle")]
    assert longjump.main(["bundle", str(folder / "jump.onnx"), *wrapping]) == 0
    command = [sys.executable, "-m", "longjump", "serve", str(folder / "bundle"), "--port", "0", "--threads", "1"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        assert process.stderr is not None
        try:
            said = ""
            for line in process.stderr:
                said += line
                if found := re.search(r"http://127\.0\.0\.1:\d+", line):
                    yield found[0]
                    break
            else:
                pytest.fail(said)
        finally:
            process.terminate()


@pytest.mark.parametrize("formats", [{"json": 1.0, "npy": 1.0}, {}])
def test_points_are_loaded_and_checked(url: str, formats: dict[str, float]) -> None:
    run = measure(
        Settings(
            url,
            rate=60,
            steps={1: 0.5, 2: 0.5},
            labels={"0": 1, "none": 1},
            formats=formats,
            warmup=0,
            seconds=1.5,
            verify=0.3,
            slo=10,
            max_lateness=10,
        )
    )
    assert run.trustworthy, (run.groups, run.checks)
    assert run.ok == run.window.sent
    assert run.checks.decoded == run.checks.checked
    assert run.checks.same_bytes == "yes"
    assert run.goodput is not None
    assert run.goodput.share == 1
    assert run.server.model is not None
    assert run.server.model["kind"] == "points"
    for one in run.steps:
        assert one.ok > 10
        assert one.steps_used == {str(one.steps): one.ok}
        assert one.stages["network"].count == one.ok
        assert one.stages["outside"].count == one.ok

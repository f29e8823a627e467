"""`longjump bench --only engines` times every precision of a bundle in every batch, beside what the machine can do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from onnx import TensorProto, helper

import longjump
from export.assemble import extend
from export.runtime.bundle import open_bundle, write_bundle
from server.bench.floor import BATCHES

PRECISIONS = ("fp32", "fp16")


@pytest.fixture
def halved(images: Path, tmp_path: Path) -> Path:
    """The pictures' bundle with fp16 beside fp32."""
    return extend(open_bundle(images), tmp_path / "halved", precisions=PRECISIONS, force_precision=True).path


def test_every_precision_and_batch_is_timed(halved: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "times.json"
    command = ["bench", str(halved), "--only", "engines", "--seconds", "0.2", "--threads", "1", "--json", str(file)]
    assert longjump.main(command) == 0
    printed = capfd.readouterr().out
    report = json.loads(file.read_text())
    cells = {(cell["precision"], cell["rows"]): cell for cell in report["cells"]}
    assert set(cells) == {(precision, rows) for precision in PRECISIONS for rows in BATCHES}
    for (precision, rows), cell in cells.items():
        assert cell["engine"] == "onnxruntime-cpu"
        assert cell["flops"] == rows * cells[precision, 1]["flops"] == rows * report["flops_per_row"]
        assert cell["bound"] in ("arithmetic", "memory")
        assert cell["encoder"] is None
        assert min(cell[part] for part in ("network", "bare", "decode", "encode", "floor")) > 0
        assert cell["floor"] >= max(
            cell["flops"] / report["machine"]["flops"], cell["bytes"] / report["machine"]["bytes"]
        )
    assert report["rounds"] >= 3
    for precision in PRECISIONS:
        assert f"T(b) of onnxruntime-cpu {precision}, of a bare loop's" in printed


def test_points_have_nothing_to_decode(points: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "times.json"
    command = ["bench", str(points), "--only", "engines", "--seconds", "0.2", "--threads", "1", "--json", str(file)]
    assert longjump.main(command) == 0
    cells = json.loads(file.read_text())["cells"]
    assert {(cell["decode"], cell["encode"], cell["encoder"]) for cell in cells} == {(None, None, None)}


def test_encoder_of_latents_is_timed(images: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The same bundle as one of latents, whose autoencoder does nothing."""
    plain = open_bundle(images)
    nodes = [
        helper.make_node("Cast", ["image"], ["levels"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["levels"], ["z"], perm=[0, 3, 1, 2]),
    ]
    ends = [
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", 8, 8, 3])],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, ["batch", 3, 8, 8])],
    ]
    graph = helper.make_graph(nodes, "encode", *ends)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    fields = {
        **plain.manifest.model_dump(exclude={"files", "digest"}),
        "latents": {"mean": [0, 0, 0], "scale": [1, 1, 1], "factor": 1},
    }
    files: dict[str, bytes | Path] = {file: plain.read(file) for file in plain.manifest.files}
    write_bundle(tmp_path / "latent", fields, {**files, "encode.fp32.onnx": model.SerializeToString()})
    file = tmp_path / "times.json"
    command = ["bench", str(tmp_path / "latent"), "--only", "engines", "--seconds", "0.2", "--threads", "1"]
    assert longjump.main([*command, "--json", str(file)]) == 0
    assert all(cell["encoder"] > 0 for cell in json.loads(file.read_text())["cells"])
    assert "to z" in capfd.readouterr().out

"""`longjump bench --only engines` times every precision of a bundle in every batch, beside what the machine can do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import longjump
from export.assemble import extend
from export.runtime.bundle import open_bundle
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
    assert {(cell["decode"], cell["encode"]) for cell in json.loads(file.read_text())["cells"]} == {(None, None)}

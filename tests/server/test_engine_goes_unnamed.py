"""/v1/models says which engine runs and why; one that was asked for and cannot run is an error that says why not."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from export.runtime.bundle import Bundle, open_bundle
from export.runtime.engines.libraries import LIBRARIES, load_library
from export.runtime.flags import CPU
from export.tensorrt.add import add_engines
from export.tensorrt.cache import EngineCache
from export.tensorrt.compile import batch_ranges
from export.tensorrt.order import Order

from .conftest import Server, Start

FILE = "jump.fp32.tensorrt-rtx.sm89.engine"


@pytest.fixture(scope="module")
def compiled(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny bundle with an engine by TensorRT-RTX for a GPU that is not here."""
    folder = tmp_path_factory.mktemp("compiled") / "tiny"
    shutil.copytree(images, folder)
    library = LIBRARIES["tensorrt-rtx"]
    order = Order(library, load_library(library), ("sm89",), None, batch_ranges(1))
    add_engines(open_bundle(folder), order, lambda line: None, EngineCache(None))
    return folder


def entry(server: Server) -> dict:  # type: ignore[type-arg]
    (found,) = server.client.get("/v1/models").json()["data"]
    return dict(found)


def refused(server: Server) -> str:
    """The only line that a server said which did not start."""
    assert server.process.wait(60) == 2
    server._reader.join(60)
    (line,) = server.said
    return line


def test_the_engine_and_its_reason_are_named(start: Start, images: Path) -> None:
    server = start(images, fake=False)
    model = entry(server)
    assert model["precision"] == "fp32"
    assert model["engine"]["name"] == CPU
    assert model["engine"]["file"] == "jump.fp32.onnx"
    assert model["engine"]["target"] == "any"
    assert model["engine"]["state"].startswith("executed on onnxruntime")
    assert model["engine"]["reason"].startswith("the best that can run here")
    assert not any("warning" in line for line in server.said)


def test_a_compiled_engine_that_cannot_run_is_told_of_once(start: Start, compiled: Path) -> None:
    server = start(compiled, "--cpu-workers", "2", fake=False)
    model = entry(server)
    assert model["engine"]["name"] == CPU
    assert f"not tensorrt-rtx ({FILE}): no GPU: no NVIDIA driver" in model["engine"]["reason"]
    assert server.client.post("/generate?seed=1").status_code == 200
    (warning,) = [line for line in server.said if "warning" in line]
    assert f"tiny: tensorrt-rtx ({FILE}): no GPU" in warning
    assert "onnxruntime-cpu runs jump.fp32.onnx instead" in warning


def test_a_damaged_engine_does_not_stop_the_server(start: Start, compiled: Path, tmp_path: Path) -> None:
    shutil.copytree(compiled, tmp_path / "tiny")
    (tmp_path / "tiny" / FILE).write_bytes(b"cut")
    server = start(tmp_path / "tiny", fake=False)
    assert server.client.post("/generate?seed=1").status_code == 200
    assert len([line for line in server.said if "warning" in line]) == 1


def test_one_that_is_asked_for_runs_without_a_word(start: Start, compiled: Path) -> None:
    server = start(compiled, "--engine", CPU, "--precision", "fp32", fake=False)
    assert entry(server)["engine"]["reason"] == f"asked for by --engine {CPU} --precision fp32"
    assert not any("warning" in line for line in server.said)


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (("--engine", "tensorrt-rtx"), f"--engine tensorrt-rtx: tensorrt-rtx ({FILE}): no GPU: no NVIDIA driver"),
        (("--engine", "tensorrt"), "the bundle has no such engine, it has onnxruntime fp32, tensorrt-rtx fp32"),
        (("--engine", "onnxruntime-cuda"), "the installed ONNX Runtime has no CUDAExecutionProvider"),
        (("--precision", "int8"), "--precision int8: the bundle has no such engine, it has onnxruntime fp32"),
    ],
)
def test_one_that_cannot_run_is_an_error(start: Start, compiled: Path, flags: tuple[str, str], reason: str) -> None:
    assert reason in refused(start(compiled, *flags, fake=False, ready=False))


def test_the_engine_is_part_of_what_makes_a_picture(compiled: Path, images: Path) -> None:
    """Of another engine nobody knows whether company changes a row's bits."""
    from server.backend.model import Model

    bundle: Bundle = open_bundle(images)

    def deterministic(name: str) -> bool:
        return Model(bundle.manifest, "print", 1, {}, {"name": name, "precision": "fp32"}).deterministic

    assert deterministic(CPU)
    assert not deterministic("tensorrt-rtx")

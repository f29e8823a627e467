"""A bundle that cannot be served: one line that says why, a non-zero exit code, and no second attempt."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path

import pytest

from server import workers

from .conftest import Start


def copy(bundle: Path, to: Path) -> Path:
    shutil.copytree(bundle, to)
    return to


def test_flipped_byte_refused_at_start(start: Start, images: Path, tmp_path: Path) -> None:
    bundle = copy(images, tmp_path / "flipped")
    graph = bundle / "jump.fp32.onnx"
    data = bytearray(graph.read_bytes())
    data[len(data) // 2] ^= 1
    graph.write_bytes(data)
    server = start(bundle, fake=False, ready=False)
    assert server.process.wait(60) == 2
    server._reader.join(60)
    (line,) = server.said
    assert line.startswith("longjump serve: error: ")
    assert "jump.fp32.onnx does not match the SHA-256" in line


def test_manifest_of_brackets_is_a_traceback(start: Start, images: Path, tmp_path: Path) -> None:
    bundle = copy(images, tmp_path / "brackets")
    (bundle / "manifest.json").write_text("[" * 100_000)
    server = start(bundle, fake=False, ready=False)
    assert server.process.wait(60) == 2
    server._reader.join(60)
    (line,) = server.said
    assert line.startswith(f"longjump serve: error: {bundle / 'manifest.json'} is not JSON")


def test_missing_bundle_is_refused(start: Start, tmp_path: Path) -> None:
    server = start(tmp_path / "nowhere", fake=False, ready=False)
    assert server.process.wait(60) == 2
    server._reader.join(60)
    assert server.said == [f"longjump serve: error: {tmp_path / 'nowhere'}: there is no such bundle\n"]


def test_worker_that_dies_at_start_is_not_restarted(
    start: Start, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_DIE", "1")
    server = start(images, ready=False)
    assert server.process.wait(60) == 2
    server._reader.join(60)
    (line,) = server.said
    assert "the worker process ended while it started (killed by SIGKILL)" in line


def test_missing_engine_library_is_named(start: Start, images: Path, tmp_path: Path) -> None:
    (tmp_path / "onnxruntime.py").write_text("raise ModuleNotFoundError('missing', name='onnxruntime')")
    server = start(images, fake=False, ready=False, PYTHONPATH=str(tmp_path))
    assert server.process.wait(60) == 2
    server._reader.join(60)
    (line,) = server.said
    assert "pip install 'longjump[cpu]'" in line


def test_port_in_use_is_refused(start: Start, images: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = start(images, "--port", str(port), fake=False, ready=False)
        assert server.process.wait(60) == 2
    server._reader.join(60)
    (line,) = server.said
    assert f"cannot listen on 127.0.0.1 port {port}: Address already in use" in line
    assert "--port 0" in line


def test_absent_demo_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "DEMO", tmp_path)
    with pytest.raises(FileNotFoundError, match="longjump serve BUNDLE"):
        workers.default_bundle(None)

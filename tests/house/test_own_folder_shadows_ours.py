"""A person's own ``models/`` or ``server.py`` must neither hide ours nor be run by us, in any of our processes."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest
from onnx import TensorProto, helper, save_model

from .conftest import Run, clean_environment

READY_WITHIN = 60.0
"""Seconds; a bound on a hang, not a target."""


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """z_s = z - (t - s) z: a jump of points, and enough of a network to be bundled, run and served."""
    inputs = [
        helper.make_tensor_value_info("z", TensorProto.FLOAT, ["batch", 2]),
        helper.make_tensor_value_info("t", TensorProto.FLOAT, ["batch"]),
        helper.make_tensor_value_info("s", TensorProto.FLOAT, ["batch"]),
        helper.make_tensor_value_info("label", TensorProto.INT64, ["batch"]),
    ]
    column = helper.make_tensor("column", TensorProto.INT64, [2], [-1, 1])
    nodes = [
        helper.make_node("Sub", ["t", "s"], ["span"]),
        helper.make_node("Reshape", ["span", "column"], ["span_column"]),
        helper.make_node("Mul", ["span_column", "z"], ["step"]),
        helper.make_node("Sub", ["z", "step"], ["z_s"]),
    ]
    outputs = [helper.make_tensor_value_info("z_s", TensorProto.FLOAT, ["batch", 2])]
    body = helper.make_graph(nodes, "jump", inputs, outputs, [column])
    path = tmp_path_factory.mktemp("graph") / "jump.onnx"
    save_model(helper.make_model(body, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


@pytest.fixture
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Either an empty folder or one full of traps."""
    if request.param == "theirs":
        trap: Path = request.getfixturevalue("trap")
        return trap
    empty = tmp_path / "empty"
    empty.mkdir()
    return empty


@pytest.mark.parametrize("folder", ["empty", "theirs"], indirect=True)
def test_bundle_inspect_and_generate_run_there(longjump: Run, folder: Path, graph: Path) -> None:
    bundling = ["bundle", str(graph), "--points", "2", "--labels", "3", "--span", "any", "--out", "B"]
    for arguments in (bundling, ["inspect", "B"], ["generate", "B", "--seed", "7", "-o", "z.npy"]):
        ran = longjump(*arguments, cwd=folder)
        assert ran.returncode == 0, f"{arguments}: {ran.stdout}{ran.stderr}"
    assert (folder / "z.npy").stat().st_size > 0


@pytest.mark.parametrize("folder", ["empty", "theirs"], indirect=True)
def test_server_and_its_worker_run_there(longjump: Run, installed: Path, folder: Path, graph: Path) -> None:
    bundling = ["bundle", str(graph), "--points", "2", "--labels", "3", "--span", "any", "--out", "B"]
    made = longjump(*bundling, cwd=folder)
    assert made.returncode == 0, made.stderr
    port = free_port()
    log = folder / "serve.log"
    with log.open("w") as out:
        command = [str(installed / "longjump"), "serve", "B", "--port", str(port)]
        server = subprocess.Popen(command, cwd=folder, env=clean_environment(), stdout=out, stderr=out)
    try:
        await_ready(port, server, log)
        request = urllib.request.Request(f"http://127.0.0.1:{port}/generate?steps=1&seed=7&format=npy", method="POST")
        with urllib.request.urlopen(request, timeout=60) as reply:
            assert reply.status == 200
            assert reply.read().startswith(b"\x93NUMPY")
        server.send_signal(signal.SIGTERM)
        server.wait(timeout=60)
    finally:
        server.kill()
        server.wait()
    assert "their own" not in log.read_text()


@pytest.mark.parametrize("name", ["models", "server", "export", "trainer", "longjump"])
def test_control_the_traps_work(installed: Path, trap: Path, name: str) -> None:
    """`python -c` puts the current folder first: there, theirs must be what is imported."""
    command = [str(installed / "python"), "-c", f"import {name}"]
    ran = subprocess.run(command, cwd=trap, env=clean_environment(), capture_output=True, text=True)
    assert re.search(f"their own {name} was imported", ran.stderr)


def test_path_that_hides_ours_is_named(longjump: Run, trap: Path, tmp_path: Path) -> None:
    """With PYTHONPATH pointing there, Python would find theirs first: refuse, naming it, without running it."""
    (trap / "longjump.py").unlink()
    ran = longjump("inspect", "B", cwd=tmp_path, PYTHONPATH=str(trap))
    assert ran.returncode == 2
    assert str(trap / "models") in ran.stderr
    assert "PYTHONPATH" in ran.stderr
    assert "was imported" not in ran.stderr


def test_control_the_checkout_is_not_what_runs(installed: Path, tmp_path: Path) -> None:
    """The environment of these tests holds the wheel, not an editable install of the checkout."""
    code = "import longjump, server, models; print(longjump.__file__, server.__file__, models.__file__)"
    command = [str(installed / "python"), "-c", code]
    ran = subprocess.run(command, cwd=tmp_path, env=clean_environment(), capture_output=True, text=True, check=True)
    assert all(path.startswith(str(installed.parent)) for path in ran.stdout.split())


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def await_ready(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    """Return when /readyz answers 200; fail with the log if the server ends or hangs before."""
    until = time.monotonic() + READY_WITHIN
    while time.monotonic() < until:
        assert server.poll() is None, f"the server ended with {server.returncode}: {log.read_text()}"
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as reply:
                if reply.status == 200:
                    return
        except OSError:
            pass
        time.sleep(0.05)
    pytest.fail(f"not ready within {READY_WITHIN} s: {log.read_text()}")

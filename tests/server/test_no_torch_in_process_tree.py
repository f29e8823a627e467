"""Nothing of a running server has torch in its memory; and the engine is only where it belongs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from .conftest import Start, alive, eventually


def mapped(pid: int) -> str:
    return Path(f"/proc/{pid}/maps").read_text()


def test_no_torch_in_process_tree(start: Start, images: Path) -> None:
    server = start(images, fake=False)
    assert server.client.post("/generate?steps=4").status_code == 200
    api, worker = mapped(server.process.pid), mapped(server.worker())
    assert "torch" not in api
    assert "torch" not in worker
    assert "onnxruntime" in worker, "control: what a process has loaded is seen this way"
    assert "uvloop" in api
    for lean in ("onnxruntime", "numpy", "PIL"):
        assert lean not in api, f"the API process has no use for {lean}"


def test_worker_exits_with_parent(start: Start, images: Path) -> None:
    server = start(images, held=True)
    idle = server.worker()
    os.kill(server.process.pid, signal.SIGKILL)
    eventually(lambda: not alive(idle), "the worker ends when the API process is killed")


def test_busy_worker_exits_with_parent(start: Start, images: Path) -> None:
    server = start(images, held=True)
    busy = server.worker()
    server.send("/generate?seed=1&steps=4&n=9")
    server.wait_for("longjump_running", 1)
    os.kill(server.process.pid, signal.SIGKILL)
    server.open_gate()
    eventually(lambda: not alive(busy), "the worker ends after the tick it is in")


def test_folder_of_the_same_name_does_not_shadow_ours(images: Path, tmp_path: Path) -> None:
    """The worker is started as `-m server.worker.process`: a `server` in the current folder must not be what runs."""
    (tmp_path / "server").mkdir()
    (tmp_path / "server" / "__init__.py").write_text("raise SystemExit('the wrong server')")
    probe = (
        "import json, subprocess; from pathlib import Path; from server.backend import supervisor as s; "
        f"command = s.worker_command(s.WORKER, Path({str(images)!r}), 1, 1); "
        "ran = subprocess.run([*command, '--help'], env=s.worker_environment(), capture_output=True, text=True); "
        "print(json.dumps([ran.returncode, ran.stdout + ran.stderr]))"
    )
    root = str(Path(__file__).resolve().parents[2])
    environment = {**os.environ, "PYTHONPATH": root}
    ran = subprocess.run(
        [sys.executable, "-P", "-c", probe], cwd=tmp_path, capture_output=True, text=True, env=environment
    )
    code, said = json.loads(ran.stdout)
    assert code == 0, said
    assert "internal: started by longjump serve" in said

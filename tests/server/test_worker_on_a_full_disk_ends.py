"""A worker whose messages cannot be written goes on, and one that dies then is replaced without a word."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from .conftest import Server, Start, alive, eventually

FULL = Path("/dev/full")
"""Every write to it fails with ENOSPC."""


def ready(start: Start, images: Path, log: Path) -> Server:
    server = start(images, "--log-format", "json", log=log, TEST_POISON="1")
    server.wait_until_listening()
    eventually(lambda: server.client.get("/readyz").status_code == 200, "the server is ready")
    return server


def test_worker_on_a_full_disk_goes_on(start: Start, images: Path) -> None:
    server = ready(start, images, FULL)
    first = server.worker()
    for seed in range(5):
        assert server.client.post(f"/generate?seed={seed}&label=dog").status_code == 500  # which it logs
        assert server.client.post(f"/generate?seed={seed}&label=cat").status_code == 200
    assert server.worker() == first
    os.kill(first, signal.SIGKILL)
    eventually(lambda: not alive(first), "the worker is gone")
    assert server.client.post("/generate?seed=1&label=cat").status_code == 200
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(60) == 0


def test_log_that_can_be_written_has_it_all(start: Start, images: Path, tmp_path: Path) -> None:
    """Control: all that happens above is written, where there is room."""
    server = ready(start, images, tmp_path / "log")
    assert server.client.post("/generate?seed=1&label=dog").status_code == 500
    os.kill(server.worker(), signal.SIGKILL)
    server.wait_for("longjump_worker_restarts_total", 1)
    eventually(lambda: server.client.get("/readyz").status_code == 200, "the worker is replaced")
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(60) == 0
    log = (tmp_path / "log").read_text()
    for part in ("ready on http", "label 1 is poison", "starting another", "draining", "stopped"):
        assert part in log

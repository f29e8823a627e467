"""Log lines that cannot be written are left out and counted; nothing waits for them and nothing stops."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from server.observe.logs import Log, message_line

from .conftest import FAKE, PATIENCE, eventually


def test_server_on_a_full_disk_serves_and_drains(images: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, str(FAKE), "--port", str(port), str(images), "--log-requests"]
    with open("/dev/full", "wb") as full:
        server = subprocess.Popen(command, stderr=full, start_new_session=True)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE) as client:

            def ready() -> bool:
                with contextlib.suppress(httpx.ConnectError):
                    return client.get("/readyz").status_code == 200
                return False

            eventually(ready, "the server is ready")
            codes = [client.get(f"/generate?seed={seed}").status_code for seed in range(20)]
            assert codes == [200] * 20
        server.send_signal(signal.SIGTERM)
        assert server.wait(PATIENCE) == 0
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait(PATIENCE)


def test_full_disk_delays_nothing_and_is_told_later() -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    log = Log("json", full)
    for count in (1, 2):
        log.add(lambda: message_line("info", "lost"), now=True)
        eventually(lambda count=count: log.left_out == count, "the line could not be written")
    reading, writing = os.pipe()
    os.dup2(writing, full)  # there is room again
    log.add(lambda: message_line("info", "kept"), now=True)
    log.close()
    os.close(full)
    os.close(writing)
    with os.fdopen(reading) as lines:
        said = [json.loads(line)["message"] for line in lines]
    assert said == ["kept", "2 log lines were left out: they could not be written"]


def test_reader_that_does_not_read_bounds_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.observe.logs.MAX_LINES", 5)
    reading, writing = os.pipe()
    log = Log("text", writing)
    stuck = "x" * 1_000_000  # more than a pipe holds
    log.add(lambda: message_line("info", stuck), now=True)
    eventually(lambda: log.waiting == 0, "the writer is stuck")
    for _ in range(8):
        log.add(lambda: message_line("info", "more"))  # returns at once, or the test would hang here
    assert (log.waiting, log.left_out) == (5, 3)
    with os.fdopen(reading) as lines:
        assert len(lines.readline()) > len(stuck)
        log.close()
        os.close(writing)
        assert [line.removeprefix("longjump serve: ").strip() for line in lines] == [
            *["more"] * 5,
            "3 log lines were left out: they could not be written",
        ]

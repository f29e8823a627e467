"""A thousand clients that go away at the same moment leave nothing behind: no row, no request, no connection."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import Start, eventually
from .test_disconnect_frees_row import ask_and_leave

CLIENTS = 1000


@pytest.fixture(autouse=True)
def descriptors() -> Iterator[None]:
    """Room for all connections, here and in the server."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_thousand_clients_leave_at_once(start: Start, images: Path) -> None:
    # A tick lasts long enough for the worker to hear meanwhile who has left, on a busy machine too.
    server = start(images, "--max-rows", "1", "--deadline", "600000", held=True, TEST_TICK_SECONDS="0.05")
    kept = server.send("/generate?seed=0")
    server.wait_for("longjump_running", 1)
    open_before = len(os.listdir(f"/proc/{server.process.pid}/fd"))
    leaving = [ask_and_leave(server, f"/generate?seed={seed}&steps=4") for seed in range(1, CLIENTS + 1)]
    eventually(lambda: server.accepted() == CLIENTS + 1, "all accepted")
    for connection in leaving:
        connection.close()
    eventually(lambda: server.accepted() == 1, "all were freed")
    server.open_gate()
    assert kept.result().status_code == 200
    assert server.client.post("/generate?seed=1&steps=2").status_code == 200
    # One row of the first request, two of the last: none of those who left, not even of those the worker had.
    assert server.metric("longjump_row_steps_total") == 3
    gone = 'longjump_requests_total{code="499",endpoint="generate",priority="interactive",steps="4"}'
    assert server.metric(gone) == CLIENTS
    eventually(
        lambda: len(os.listdir(f"/proc/{server.process.pid}/fd")) <= open_before + 2, "all connections are closed"
    )

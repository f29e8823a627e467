"""Ctrl-C in the middle of a run: what was measured is shown and written, and no client process stays behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from loadtest.comparison import compare
from loadtest.result import read
from loadtest.table import render

from .fake_server import fake_server
from .test_late_client_is_believed import COUNT, summary

PATIENCE = 60.0


@pytest.fixture
def url() -> Iterator[str]:
    with fake_server(delay=0.3) as url:
        yield url


def start(url: str, out: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "longjump", "loadtest", "run", url, "--out", str(out), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def await_window(process: subprocess.Popen[str]) -> None:
    """Read its progress until the window has begun, and lasted a moment."""
    assert process.stderr is not None
    for line in process.stderr:
        if line.lstrip().startswith("window"):
            time.sleep(0.7)
            return
    pytest.fail("it ended before")


def children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(one) for one in found]


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_was_measured_is_written(url: str, tmp_path: Path, number: signal.Signals) -> None:
    out = tmp_path / "run.json"
    process = start(url, out, "--rate", "50", "--warmup", "0", "--seconds", "60", "--processes", "2")
    await_window(process)
    clients = children(process.pid)
    assert len(clients) == 2
    # As a terminal does it: to the whole group.
    os.killpg(process.pid, number)
    shown, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert "interrupted after" in shown
    run = read(out)
    assert run.interrupted
    assert 0 < run.ok <= run.window.sent
    # What was in flight is in no histogram, and not counted as failed.
    assert run.window.unfinished == run.window.sent - run.ok > 0
    assert {group.status for group in run.groups} == {"200"}
    assert run.window.seconds < 30
    assert not [pid for pid in clients if alive(pid)]
    assert not list(tmp_path.glob(".*")), "a half-written file stays"


def test_unfinished_requests_are_not_called_failed() -> None:
    """50 of 1000 were in flight at Ctrl-C. Control: as many that timed out are failures."""
    whole, interrupted = (summary(np.full(COUNT, 0.0002), unfinished=number) for number in (0, 50))
    [one] = interrupted.steps
    assert (one.sent, one.ended, one.unfinished) == (1000, 950, 50)
    assert interrupted.goodput is not None
    assert interrupted.goodput.share == 1
    assert "100 % of all requests" in render(interrupted)
    assert "95 %" not in render(interrupted)
    assert not [row for row in compare(whole, interrupted) if "failed" in row.what]
    failed = one.model_copy(update={"unfinished": 0})
    rows = compare(whole, interrupted.model_copy(update={"steps": (failed,)}))
    assert [row.verdict for row in rows if "failed" in row.what] == ["worse"]


def test_killed_measurement_leaves_no_client(url: str, tmp_path: Path) -> None:
    process = start(url, tmp_path / "run.json", "--rate", "50", "--warmup", "0", "--seconds", "60")
    await_window(process)
    clients = children(process.pid)
    process.kill()
    process.communicate()
    until = time.monotonic() + PATIENCE
    while any(alive(pid) for pid in clients):
        assert time.monotonic() < until
        time.sleep(0.05)


def test_killed_client_is_named(url: str, tmp_path: Path) -> None:
    process = start(url, tmp_path / "run.json", "--rate", "50", "--warmup", "0", "--seconds", "60")
    await_window(process)
    for pid in children(process.pid):
        os.kill(pid, signal.SIGKILL)
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 2
    assert "a client process ended with code -9" in said

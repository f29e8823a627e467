"""SIGTERM stops the accepting, lets what was accepted finish, and ends with exit code 0."""

from __future__ import annotations

import itertools
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from .conftest import Start, alive, eventually


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_sigterm_drains(start: Start, images: Path, number: signal.Signals) -> None:
    server = start(images, "--max-rows", "1", held=True)
    worker = server.worker()
    answers = [server.send(f"/generate?seed={seed}&steps=2") for seed in range(8)]
    eventually(lambda: server.accepted() == 8, "all accepted")
    server.process.send_signal(number)
    eventually(lambda: "draining" in "".join(server.said), "the server drains")

    def refused() -> bool:
        try:
            httpx.get(f"http://127.0.0.1:{server.port}/livez", timeout=5)
        except httpx.TransportError:
            return True
        return False

    eventually(refused, "new connections are refused")
    assert server.process.poll() is None
    server.open_gate()
    assert [answer.result().status_code for answer in answers] == [200] * 8
    assert server.process.wait(60) == 0
    assert not alive(worker)


def test_second_signal_does_not_wait(start: Start, images: Path) -> None:
    server = start(images, held=True)
    unanswered = server.send("/generate?seed=1")
    server.wait_for("longjump_running", 1)
    server.process.send_signal(signal.SIGTERM)
    eventually(lambda: "draining" in "".join(server.said), "the server drains")
    server.process.send_signal(signal.SIGTERM)
    assert unanswered.result().status_code == 503
    assert server.process.wait(60) == 1


def test_drain_has_an_end(start: Start, images: Path) -> None:
    server = start(images, "--drain-seconds", "1", held=True)
    unanswered = server.send("/generate?seed=1")
    server.wait_for("longjump_running", 1)
    server.process.send_signal(signal.SIGTERM)
    assert unanswered.result().status_code == 503
    assert server.process.wait(60) == 1


def test_sigterm_while_starting_leaves_no_worker(start: Start, images: Path) -> None:
    server = start(images, ready=False)
    eventually(lambda: server.process.poll() is not None or len(server._group()) == 2, "the worker was started")
    group = server._group()
    server.process.send_signal(signal.SIGTERM)
    server.process.wait(60)
    eventually(lambda: not any(alive(pid) for pid in group), "the worker ends too")


def test_sigterm_under_load_fails_nothing(start: Start, images: Path) -> None:
    """Clients that ask one thing after the other: until the server takes no more, all get their answers."""
    server = start(images, "--cpu-workers", "2")
    address = f"http://127.0.0.1:{server.port}"
    stopping = threading.Event()
    statuses: list[int] = []

    def ask_on(first_seed: int) -> None:
        for seed in itertools.count(first_seed, 16):
            try:
                # A connection for each: an idle one that is kept may be closed by the server at any time.
                answer = httpx.get(f"{address}/generate?seed={seed}&steps={(1, 4)[seed % 2]}&n={1 + seed % 5}")
            except httpx.TransportError:
                assert stopping.is_set()
                return
            statuses.append(answer.status_code)

    with ThreadPoolExecutor(16) as clients:
        asking = [clients.submit(ask_on, first_seed) for first_seed in range(16)]
        eventually(lambda: len(statuses) > 100, "the load is on")
        stopping.set()
        server.process.send_signal(signal.SIGTERM)
        for one in asking:
            one.result()
    assert server.process.wait(60) == 0
    assert set(statuses) == {200}
    assert "not answered" not in "".join(server.said)

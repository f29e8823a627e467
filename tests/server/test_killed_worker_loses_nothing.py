"""A worker killed with SIGKILL is replaced, and every request that was accepted is answered, with the same bytes."""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import signal
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import uvloop

from server.backend.supervisor import Link

from .conftest import Start, eventually

REQUESTS = [f"/generate?seed={seed}&steps={steps}&label=dog" for seed in range(4) for steps in (1, 2, 4)]


def test_killed_worker_loses_nothing(start: Start, images: Path) -> None:
    calm = start(images)
    expected = {target: calm.client.post(target).content for target in REQUESTS}
    server = start(images, "--max-rows", "2", held=True)
    answers = {target: server.send(target) for target in REQUESTS}
    # Held at the gate: some requests are in the worker's first tick, some behind it, some in the queue.
    eventually(lambda: server.accepted() == len(REQUESTS), "all accepted")
    assert server.metric("longjump_waiting") > 0
    first = server.worker()
    os.kill(first, signal.SIGKILL)
    server.wait_for("longjump_worker_restarts_total", 1)
    server.open_gate()
    for target, answer in answers.items():
        assert answer.result().status_code == 200
        assert answer.result().content == expected[target]
    assert server.worker() != first
    assert server.metric("longjump_worker_up") == 1
    assert server.metric("longjump_waiting") == server.metric("longjump_running") == 0


def test_workers_killed_under_load_lose_nothing(start: Start, images: Path) -> None:
    """Two workers, killed in turns in the middle of ticks, while requests keep coming."""
    calm = start(images)
    expected = {target: calm.client.post(target).content for target in REQUESTS}
    server = start(images, "--cpu-workers", "2")
    calm.process.kill()
    over = threading.Event()
    wrong: list[str] = []

    def ask_on(turn: int) -> int:
        for count in itertools.count():
            if over.is_set():
                return count
            target = REQUESTS[(turn + count) % len(REQUESTS)]
            answer = server.client.post(target)
            if answer.status_code != 200 or answer.content != expected[target]:
                wrong.append(f"{target}: {answer.status_code} {answer.text[:200]}")
        return 0

    with ThreadPoolExecutor(8) as clients:
        asking = [clients.submit(ask_on, turn) for turn in range(8)]
        try:
            for kill in range(3):
                eventually(lambda: server.metric("longjump_workers_up") == 2, "both workers are up")
                os.kill(server.workers()[kill % 2], signal.SIGKILL)
                server.wait_for("longjump_worker_restarts_total", kill + 1)
        finally:
            over.set()
        assert all(one.result() > 3 for one in asking)
    assert wrong == []
    assert server.accepted() == 0


def test_request_that_kills_every_worker_fails_alone(start: Start, images: Path) -> None:
    server = start(images, "--max-rows", "8", held=True, TEST_FATAL="1")
    company = [server.send(f"/generate?seed={seed}&label=cat&steps=4") for seed in range(6)]
    eventually(lambda: server.accepted() == 6, "all accepted")
    fatal = server.send("/generate?seed=1&label=dog")
    eventually(lambda: server.accepted() == 7, "all accepted")
    server.open_gate()
    answer = fatal.result()
    assert answer.status_code == 500
    assert "died 3 times" in answer.json()["detail"]
    assert [innocent.result().status_code for innocent in company] == [200] * 6
    assert server.client.post("/generate?seed=1&label=cat").status_code == 200


def test_worker_that_cannot_come_back_ends_the_server(start: Start, images: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "doomed"
    shutil.copytree(images, bundle)
    server = start(bundle, held=True)
    waiting = server.send("/generate?seed=1")
    server.wait_for("longjump_running", 1)
    (bundle / "jump.fp32.onnx").unlink()
    os.kill(server.worker(), signal.SIGKILL)
    assert waiting.result().status_code == 503
    assert server.process.wait(60) == 2
    assert "jump.fp32.onnx is missing" in "".join(server.said)


def test_server_that_stops_between_two_starts_ends(start: Start, images: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "flickering"
    shutil.copytree(images, bundle)
    server = start(bundle)
    (bundle / "jump.fp32.onnx").rename(tmp_path / "aside")
    os.kill(server.worker(), signal.SIGKILL)
    eventually(lambda: "trying again" in "".join(server.said), "the worker did not start again")
    (tmp_path / "aside").rename(bundle / "jump.fp32.onnx")
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(60) == 0


def test_bundle_changed_under_a_running_server_is_not_served(
    start: Start, images: Path, guided: Path, tmp_path: Path
) -> None:
    """The fingerprint promises bytes: another model under the same server would break it unseen."""
    bundle = tmp_path / "changing"
    shutil.copytree(images, bundle)
    server = start(bundle)
    shutil.rmtree(bundle)
    shutil.copytree(guided, bundle)
    os.kill(server.worker(), signal.SIGKILL)
    assert server.process.wait(60) == 2
    assert "was changed while it was served" in "".join(server.said)


def test_job_for_a_worker_that_just_died_is_no_error() -> None:
    """Between the end of its socket and the supervisor's taking note; then the job is given back with the others."""

    async def write() -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        transport, link = await asyncio.get_running_loop().create_connection(Link, sock=ours)
        theirs.close()
        await link.lost
        link.write(b"a job")
        with pytest.raises(RuntimeError, match="closed"):  # control: the transport itself does raise
            transport.write(b"a job")
        with pytest.raises(ConnectionError):
            await link.greeting

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(write())

"""With --gpus each worker process has a GPU of its own, also the one that takes a dead one's place."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import longjump

from .conftest import Server, Start, eventually

SEEN = """
import os, socket, sys
from server.worker.process import main
ours, theirs = socket.socketpair()
def opener(bundle, threads):
    raise ValueError("sees " + os.environ["CUDA_VISIBLE_DEVICES"])
main(["--fd", str(theirs.detach()), "--bundle", sys.argv[1], "--max-rows", "1", "--gpu", "GPU-7"], opener)
print(ours.recv(1000))
"""


def workers(server: Server) -> dict[str, int]:
    """GPU -> worker process."""
    found = {}
    for pid in server.workers():
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        found[words[words.index(b"--gpu") + 1].decode()] = pid
    return found


def test_each_has_its_own_and_keeps_it(start: Start, images: Path) -> None:
    server = start(images, "--gpus", "3,GPU-8932f937")
    before = workers(server)
    assert set(before) == {"3", "GPU-8932f937"}
    os.kill(before["GPU-8932f937"], signal.SIGKILL)
    server.wait_for("longjump_worker_restarts_total", 1)
    eventually(lambda: server.metric("longjump_workers_up") == 2, "the second is back")
    after = workers(server)
    assert after["3"] == before["3"]
    assert after["GPU-8932f937"] != before["GPU-8932f937"]


def test_a_worker_shows_its_engine_no_other(images: Path) -> None:
    command = (sys.executable, "-c", SEEN, images)
    said = subprocess.run(command, env={**os.environ, "CUDA_VISIBLE_DEVICES": "0,1"}, capture_output=True, check=True)
    assert b"sees GPU-7" in said.stdout


@pytest.mark.parametrize(
    ("text", "wrong"),
    [("0,0", "names a GPU twice"), ("0,", "no list of GPUs"), ("all", "no list of GPUs"), ("-1", "no list of GPUs")],
)
def test_a_wrong_list_is_refused(text: str, wrong: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        longjump.main(["serve", f"--gpus={text}"])
    assert left.value.code == 2
    assert wrong in capsys.readouterr().err

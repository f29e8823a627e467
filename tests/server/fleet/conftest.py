"""Fleets under test: a real Redis, real `longjump serve --redis` and `longjump worker` processes, ended in any case.

The worker processes run the engine of tests/server/fake_worker.py, behind a gate if they are `held`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..conftest import ROOT, Server, eventually, images, points  # noqa: F401
from .redis_server import RedisServer

WORK = Path(__file__).resolve().parents[1] / "fake_work.py"


class Agent(Server):
    """A `longjump worker` process."""

    def wait_until_ready(self) -> None:
        """Wait until it is in its fleet."""
        eventually(lambda: self.process.poll() is not None or self.says("ready as"), "the worker is ready")
        assert self.process.poll() is None, "".join(self.said)

    def says(self, words: str) -> bool:
        """Whether it has said so."""
        return words in "".join(self.said)


class Fleet:
    """Everything of one test."""

    def __init__(self, folder: Path, redis: RedisServer | None = None) -> None:
        """`redis`: not a new one of its own."""
        self.folder = folder
        self.redis = redis or RedisServer(folder)
        self.started: list[Server] = []
        self.url = self.redis.url
        """What processes that are started from now on are told; a proxy may stand before Redis."""
        self.inside: tuple[str, ...] = ()
        """What stands before their commands, to run them elsewhere."""

    def api(self, *options: str, ready: bool = True, **environment: str) -> Server:
        """Start an API process; ready once a worker is there."""
        command = [
            *self.inside,
            sys.executable,
            str(ROOT / "longjump.py"),
            "serve",
            "--port",
            "0",
            "--deadline",
            "60000",
        ]
        server = Server([*command, "--redis", self.url, *options], environment, self.folder / "no-gate")
        self.started.append(server)
        if ready:
            server.wait_until_ready()
        return server

    def worker(
        self, *bundles: Path, options: tuple[str, ...] = (), ready: bool = True, held: bool = False, **environment: str
    ) -> Agent:
        """Start a worker; it holds what it takes until `open_gate` if it is `held`."""
        gate = self.folder / f"gate{len(self.started)}"
        environment.setdefault("LONGJUMP_COST_CACHE", str(self.folder / "costs"))
        if held:
            environment["TEST_GATE"] = str(gate)
        command = [*self.inside, sys.executable, str(WORK), "--redis", self.url, "--lease-seconds", "1", *options]
        agent = Agent([*command, *map(str, bundles)], environment, gate)
        self.started.append(agent)
        if ready:
            agent.wait_until_ready()
        return agent

    def keys(self) -> list[str]:
        """All keys in Redis."""
        with self.redis.client(decode_responses=True) as client:
            return sorted(client.keys("*"))

    def held(self) -> tuple[int, dict[str, str]]:
        """Entries in all work streams, and what the loads count."""
        with self.redis.client(decode_responses=True) as client:
            entries = sum(client.xlen(key) for key in client.keys("*:work:*"))
            loads: dict[str, str] = {}
            for key in client.keys("*:load:*"):
                loads |= client.hgetall(key)
            return entries, loads

    def end(self) -> None:
        """End everything."""
        for server in reversed(self.started):
            server.end()
        self.redis.kill()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis, which keeps nothing."""
    made = RedisServer(tmp_path)
    yield made
    made.kill()


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """A Redis, and what a test starts beside it."""
    made = Fleet(tmp_path)
    yield made
    made.end()

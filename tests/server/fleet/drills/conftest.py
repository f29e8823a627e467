"""A fleet for drills: two API processes and two workers, each with its own way to one Redis that keeps what it has.

It stands for all drills of a session. Each finds it whole, does its harm, and must leave nothing behind in Redis.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import redis as redis_py

from ...conftest import Server, eventually, images  # noqa: F401
from ..conftest import Agent, Fleet
from ..redis_server import RedisServer
from .clients import Clients, Counts, Heard, Sent
from .link import Link
from .network import Cable, Network

LOG = "LONGJUMP_DRILL_LOG"
"""Environment variable: a file to which each drill adds its counts, for run.py."""

ROUND = "LONGJUMP_DRILL_ROUND"
"""Environment variable: which time it is, for what happens by chance."""

KEPT = ("--appendonly", "yes", "--appendfsync", "always")
"""Options of a Redis that has after a restart what it had before."""


class Standing(Fleet):
    """The fleet, and what drills do to it."""

    def __init__(self, bundle: Path, redis: RedisServer, links: Sequence[Link | Cable]) -> None:
        """`links` are those of the API processes, then those of the workers."""
        super().__init__(redis.folder, redis)
        self.bundle = bundle
        self.links = links
        self.apis: list[Server] = []
        self.workers: list[Agent] = []
        self.clients = Clients(bundle)

    def mend(self) -> None:
        """Make everything whole again, whatever was done to it, and wait until it is."""
        if self.redis.process is None or self.redis.process.poll() is not None:
            self.redis.start()
        self.redis.signal(signal.SIGCONT)
        for link in self.links:
            link.heal()
        with self.redis.client() as client:
            client.config_set("maxmemory", 0)
        new: list[Server] = []
        for number in range(2):
            if number == len(self.workers) or self.workers[number].process.poll() is not None:
                self.workers[number : number + 1] = [self.new_worker(number)]
                new.append(self.workers[number])
            if number == len(self.apis) or self.apis[number].process.poll() is not None:
                self.apis[number : number + 1] = [self.new_api(number)]
                new.append(self.apis[number])
        for worker in self.workers:
            os.killpg(worker.process.pid, signal.SIGCONT)
            worker.open_gate()
        for one in new:
            one.wait_until_ready()
        try:
            eventually(self.whole, "the fleet is whole")
        except AssertionError:
            self.show()
            raise

    def show(self) -> None:
        """Print what everybody said last, and what API processes know."""
        for server in (*self.apis, *self.workers):
            print(f"--- {server.process.args}", "".join(server.said[-20:]), sep="\n")
        for api in self.apis:
            print(api.client.get("/readyz").text, api.client.get("/v1/capacity").text, sep="\n")

    def new_api(self, number: int, **environment: str) -> Server:
        """Start an API process on its link."""
        link = self._at(number)
        return self.api("--host", link.host, ready=False, **environment)

    def new_worker(self, number: int, **environment: str) -> Agent:
        """Start a worker on its link. A tick of any size costs the same, so that it takes many requests at once."""
        self._at(2 + number)
        return self.worker(self.bundle, ready=False, held=True, TEST_TICK_SECONDS="0.05", **environment)

    def _at(self, number: int) -> Link | Cable:
        link = self.links[number]
        self.url, self.inside = link.url or self.redis.url, link.inside
        return link

    def whole(self) -> bool:
        """Whether both API processes know both workers and no others."""
        for api in self.apis:
            if api.client.get("/readyz").status_code != 200:
                return False
            (line,) = api.client.get("/v1/capacity").json()["models"]
            if (line["agents"], line["workers"]) != (2, 2):
                return False
        return True

    def send(self, count: int, *, apis: Sequence[Server] | None = None, **options: float) -> Sent:
        """Send requests to API processes in turn; to both, unless some are named."""
        return self.clients.send([api.client.base_url for api in apis or self.apis], count, **options)

    def hold(self, count: int, **options: float) -> Sent:
        """Send requests to engines that stop in mid-tick, until all are in Redis and both workers have some."""
        self.close_gates()
        sent = self.send(count, **options)
        eventually(lambda: sent.over or self.held()[0] == count, "all are in Redis")
        assert not sent.over, (
            f"some were not held: {[one for one in sent.so_far() if one.fate != 'answered'] or 'answered'}"
        )
        eventually(lambda: all(self.has(worker) for worker in self.workers), "both workers are at work")
        return sent

    @staticmethod
    def kill(*servers: Server) -> None:
        """Kill processes at once, and those that they started with them: their machines are gone."""
        for server in servers:
            os.killpg(server.process.pid, signal.SIGKILL)
            server.process.wait(60)

    def close_gates(self) -> None:
        """From now on engines stop before their next evaluation."""
        for worker in self.workers:
            worker.gate.unlink(missing_ok=True)

    def open_gates(self) -> None:
        """Let them go on."""
        for worker in self.workers:
            worker.open_gate()

    def has(self, worker: Agent) -> int:
        """Entries that a worker has, by Redis."""
        return sum(count for name, count in self.holders().items() if f":{worker.process.pid}:" in name)

    def holders(self) -> dict[str, int]:
        """Name of an agent -> entries that it has."""
        found: dict[str, int] = {}
        with self.redis.client(decode_responses=True) as client:
            for stream in client.keys("*:work:*"):
                try:
                    told = client.xpending(stream, "workers")
                except redis_py.exceptions.ResponseError:
                    continue  # no group yet
                for one in told["consumers"] or ():
                    found[one["name"]] = found.get(one["name"], 0) + one["pending"]
        return found

    def copy_memory(self) -> Path:
        """A folder with what Redis has on disk now."""
        older = self.folder / "older"
        older.mkdir(exist_ok=True)
        for kept in self.folder.glob("appendonly*"):  # a file, and a folder from Redis 7 on
            (shutil.copytree if kept.is_dir() else shutil.copyfile)(kept, older / kept.name)
        return older

    def forget(self, older: Path | None = None) -> None:
        """Start Redis again without anything that it had, or with an older memory; it must have been killed."""
        for kept in self.folder.glob("appendonly*"):
            shutil.rmtree(kept) if kept.is_dir() else kept.unlink()
        if older is not None:
            for kept in older.iterdir():
                kept.rename(self.folder / kept.name)
        self.redis.start()

    def settled(self) -> bool:
        """Whether nothing of any request is left in Redis, but what dies with the name of a process that is gone."""
        with self.redis.client(decode_responses=True) as client:
            for key in client.keys("*:reply:*") + client.keys("*:control:*"):
                lives = any(f":{one.process.pid}:" in key for one in (*self.apis, *self.workers))
                if client.xlen(key) and (lives or client.ttl(key) == -1):
                    return False
        return self.held() == (0, {}) and not self.holders()

    def end(self) -> None:
        """End everything."""
        self.clients.close()
        super().end()


APART = "test_machines_apart_lose_work"
"""The file whose drills have every process on a machine of its own, as a network sees it."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Where a drill's fleet is."""
    if "fleet" in metafunc.fixturenames:
        where = "apart" if metafunc.module.__name__.endswith(APART) else "loopback"
        metafunc.parametrize("standing", [where], indirect=True, scope="session", ids=[pytest.HIDDEN_PARAM])


@pytest.fixture(scope="session")
def standing(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    images: Path,  # noqa: F811
) -> Iterator[Standing]:
    """The fleet of the session."""
    folder = tmp_path_factory.mktemp("standing")
    with contextlib.ExitStack() as stack:
        links: list[Link | Cable] = []
        if request.param == "apart":
            network = stack.enter_context(Network())
            there = network.machine("redis")
            redis = RedisServer(folder, *KEPT, "--protected-mode", "no", host=there.host, inside=there.inside)
            links += [network.machine("api1", front=True), network.machine("api2", front=True)]
            links += [network.machine("worker1"), network.machine("worker2")]
        else:
            redis = RedisServer(folder, *KEPT)
            links += [stack.enter_context(contextlib.closing(Link(redis.port))) for _ in range(4)]
        made = Standing(images, redis, links)
        stack.callback(made.end)
        yield made


@pytest.fixture
def fleet(standing: Standing, request: pytest.FixtureRequest) -> Iterator[Standing]:
    """The fleet, whole."""
    standing.mend()
    failed = request.session.testsfailed
    yield standing
    if request.session.testsfailed > failed:
        for process in (*standing.apis, *standing.workers):
            print(f"--- {process.process.args}", "".join(process.said[-20:]), sep="\n")
    standing.mend()
    eventually(standing.settled, "nothing is left in Redis")


Tell = Callable[[str, Sequence[Heard]], Counts]


@pytest.fixture
def tell(request: pytest.FixtureRequest) -> Tell:
    """A function that counts what was heard, prints it under the drill's name, and fails for what was lost or wrong."""

    where = " (machines apart)" if request.module.__name__.endswith(APART) else ""

    def count(drill: str, heard: Sequence[Heard]) -> Counts:
        drill += where
        counts = Counts.of(heard)
        print(f"{drill}: {counts}")
        others = [one for one in heard if one.fate != "answered"]
        for one in others[:20]:
            print(f"    {one.fate} {one.asked.target}: {one.words}")
        if log := os.environ.get(LOG):
            with Path(log).open("a") as file:
                file.write(json.dumps({"drill": drill, **vars(counts)}) + "\n")
        assert (counts.lost, counts.wrong) == (0, 0)
        return counts

    return count

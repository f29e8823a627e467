"""A way for jobs from a dispatch to a worker that a test plays itself: in memory, or over a real Redis."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from export.runtime.bundle import open_bundle
from export.runtime.flags import CPU
from server.backend.dispatch import Dispatch, OnPart
from server.backend.model import Model
from server.backend.queue import MemoryQueue
from server.fleet.agent import Agent
from server.fleet.connection import Redis
from server.fleet.keys import Keys
from server.fleet.line import FleetLine
from server.fleet.lines import FleetLines
from server.fleet.where import Where
from server.jobs import Job, Result
from server.schedule.admission import Bounds
from server.schedule.costs import Costs
from server.wire import Frames
from server.workers import DEMO

KNEE = 2
WIDE = Bounds(1000, 100_000, 2**20)


async def until(happens: Callable[[], object], what: str = "") -> None:
    """Wait until `happens()` is true; fail if it never is."""
    deadline = time.monotonic() + 30
    while not happens():
        assert time.monotonic() < deadline, f"did not happen: {what or happens}"
        await asyncio.sleep(0.002)


def played_costs() -> Costs:
    """Those of a worker whose ticks take up to KNEE rows, and no time to speak of."""
    costs = Costs(KNEE)
    costs.observe(1, 0.00001)
    costs.observe(2, 0.00001)
    return costs


class PlayedWorker:
    """A worker of a dispatch; it answers when the test says so. Jobs are told apart by their seeds."""

    def __init__(self, dispatch: Dispatch) -> None:
        self._dispatch = dispatch
        self._frames = Frames()
        self.jobs: dict[int, Job] = {}
        """Those that came, in order, and were not answered; by seed."""
        self.seen: list[int] = []
        """Seeds of all that came."""
        self.came: list[Job] = []
        """All that came."""
        self.cancelled: list[int] = []
        self.attached = dispatch.attach(self)

    def write(self, data: bytes) -> None:
        """What the dispatch calls."""
        for header, blobs in self._frames.feed(data):
            match header["op"]:
                case "job":
                    job = Job.from_frame(header, blobs)
                    self.jobs[job.seed] = job
                    self.seen.append(job.seed)
                    self.came.append(job)
                case "cancel":
                    for seed, job in list(self.jobs.items()):
                        if job.id == header["id"]:
                            self.cancelled.append(seed)
                            del self.jobs[seed]

    def answer(self, seed: int, op: str = "done", **fields: Any) -> None:
        """Send a frame about a job; "done" tells its seed."""
        job = self.jobs[seed] if op == "part" else self.jobs.pop(seed)
        plain = {"ticks": [], "labels": [0], "stages": [0.0, 0.0, 0.0, 0.0]}
        self._dispatch.receive(self.attached, {"op": op, "id": job.id, **plain, **fields}, [b"picture %d" % seed])

    def die(self) -> None:
        """The process is gone, and what it had with it."""
        self._dispatch.detach(self.attached)
        self.jobs.clear()


class PlayedLine:
    """A local line of one played worker, as an agent needs it."""

    def __init__(self, name: str = "demo", fingerprint: str = "played", digest: str | None = None) -> None:
        manifest = open_bundle(DEMO).manifest
        # Without figures, which would say of the demo's steps which ones are worth their time.
        changed: dict[str, Any] = {"name": name, "quality": {}, **({} if digest is None else {"digest": digest})}
        engine = {"name": CPU, "precision": "fp32"}
        self.model = Model(manifest.model_copy(update=changed), fingerprint, 1, {}, engine)
        self.ready = asyncio.Event()
        self.ready.set()
        self.dispatch = Dispatch(MemoryQueue(Bounds(2**40, 2**40, 2**40)), played_costs())
        self.worker = PlayedWorker(self.dispatch)

    @property
    def up(self) -> bool:
        return self.dispatch.workers > 0

    def replace(self) -> PlayedWorker:
        """The worker dies, and another comes."""
        self.worker.die()
        self.worker = PlayedWorker(self.dispatch)
        return self.worker


class MemoryRoad:
    """A dispatch and its worker within one process."""

    def __init__(self, bounds: Bounds = WIDE) -> None:
        self._queue = MemoryQueue(bounds)
        self.dispatch = Dispatch(self._queue, played_costs())
        self.worker = PlayedWorker(self.dispatch)

    async def __aenter__(self) -> MemoryRoad:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.dispatch.close("the test is over")

    async def submit(self, job: Job, on_part: OnPart | None = None) -> asyncio.Future[Result]:
        return await self.dispatch.submit(job, on_part)

    def cancel(self, job: Job) -> None:
        self.dispatch.cancel(job.id)

    def close(self, reason: str) -> int:
        return self.dispatch.close(reason)

    def replace(self) -> None:
        """The worker dies, and another comes."""
        self.worker.die()
        self.worker = PlayedWorker(self.dispatch)

    async def load(self) -> tuple[int, int, int]:
        """Requests, row-steps and bytes that are not over."""
        backlog = self._queue.backlog
        return backlog.requests, backlog.total, backlog.bytes


class RedisRoad:
    """An API process's lines and a worker's agent, both in this process, and a Redis between them."""

    def __init__(self, url: str, bounds: Bounds = WIDE, lease: float = 0.3, fleet: str = "default") -> None:
        self.keys = Keys(fleet)
        self._url = url
        self._lease = lease
        self.said: list[str] = []
        self.lines = FleetLines(self.redis("api"), self.keys, "api", bounds, 3600.0, Nobody())
        self.local = PlayedLine()
        self.agents: list[Agent] = []

    def redis(self, name: str) -> Redis:
        """A connection's maker, as a process has one."""
        return Redis(Where(self._url), name, self.said.append)

    async def join(self, local: PlayedLine, name: str) -> Agent:
        """One more agent, in the fleet when this returns."""
        agent = Agent(self.redis(name), self.keys, name, self._lease)
        self.agents.append(agent)
        await agent.join(local)  # type: ignore[arg-type]
        return agent

    async def __aenter__(self) -> RedisRoad:
        await self.join(self.local, "agent-1")
        self.lines.start()
        await self.lines.ready()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.lines.close("the test is over")
        await self.lines.stop()
        for agent in self.agents:
            await agent.drain(0.0)
            await agent.close()

    @property
    def line(self) -> FleetLine:
        return self.lines.lines[0]

    @property
    def worker(self) -> PlayedWorker:
        return self.local.worker

    async def submit(self, job: Job, on_part: OnPart | None = None) -> asyncio.Future[Result]:
        return await self.line.dispatch.submit(job, on_part)

    def cancel(self, job: Job) -> None:
        self.line.dispatch.cancel(job.id)

    def close(self, reason: str) -> int:
        return self.lines.close(reason)

    def replace(self) -> None:
        self.local.replace()

    async def load(self) -> tuple[int, int, int]:
        await self.lines._survey(self.line)
        held = self.line.held
        return held.requests, held.total, held.bytes


class Nobody:
    """An observer who does not look."""

    def ticked(self, *_: Any) -> None: ...
    def restarted(self, *_: Any) -> None: ...
    def cancelled(self, *_: Any) -> None: ...

"""The HTTP side over a line that a test holds in its hand: no worker, no socket, no clock."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from export.runtime.bundle import open_bundle
from export.runtime.flags import CPU
from server.backend.model import Model
from server.http.cache import ResponseCache
from server.http.desk import Desk
from server.http.endpoint import Endpoint
from server.http.generate import Generate
from server.jobs import Job, JobFailed, Part, Priority, Result, Stages
from server.observe.metrics import Metrics
from server.schedule.admission import DEADLINES, Admitted, Refused, Wanted

ENGINE = {"name": CPU, "precision": "fp32"}
"""What a model's engine must say at least."""

STAGES = Stages(0.001, 0.002, 0.0, 0.001)


class FakeDispatch:
    """Keeps what is submitted until the test ends it."""

    def __init__(self) -> None:
        self.jobs: dict[int, Job] = {}
        """Submitted and not over, in order."""
        self.cancelled: list[Job] = []
        self._waiting: dict[int, tuple[asyncio.Future[Result], Callable[[Part], None] | None]] = {}

    async def submit(self, job: Job, on_part: Callable[[Part], None] | None = None) -> asyncio.Future[Result]:
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self.jobs[job.id], self._waiting[job.id] = job, (future, on_part)
        return future

    def cancel(self, job_id: int) -> None:
        job = self.jobs.pop(job_id, None)
        if job is not None:
            self.cancelled.append(job)

    def show(self, job: Job, step: int) -> None:
        """The job is at a step."""
        on_part = self._waiting[job.id][1]
        assert on_part is not None
        on_part(Part(step, b"part %d" % step))

    def finish(self, job: Job) -> None:
        """The job is done; its blob tells the seed and the steps."""
        label = 0 if job.label is None else job.label
        blobs = [b"seed %d steps %d" % (job.seed + i, job.steps) for i in range(job.n if job.layout == "each" else 1)]
        del self.jobs[job.id]
        self._waiting[job.id][0].set_result(Result([label] * job.n, STAGES, blobs))

    def fail(self, job: Job, error: JobFailed) -> None:
        del self.jobs[job.id]
        self._waiting[job.id][0].set_exception(error)


class FakeLine:
    """A line that admits everything, with the best steps, until `decision` says otherwise."""

    max_reply = 2**31

    def __init__(self, model: Model) -> None:
        self.model = model
        self.dispatch = FakeDispatch()
        self.wanted: list[Wanted] = []
        self.decision: Callable[[Wanted], Admitted | Refused] = lambda wanted: Admitted(
            wanted.steps[0], wanted.arrival + 1, wanted.arrival + (wanted.deadline or 1.0), 0.0
        )

    def default_deadline(self, priority: Priority) -> float:
        return DEADLINES[priority]

    def admit(self, wanted: Wanted, now: float) -> Admitted | Refused:
        self.wanted.append(wanted)
        return self.decision(wanted)


class FakeLines:
    """One line."""

    complete = True

    def __init__(self, line: FakeLine) -> None:
        self.line = line

    @property
    def models(self) -> list[Model]:
        return [self.line.model]

    def find(self, model: Model) -> FakeLine:
        return self.line


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """A client of one request, who may leave."""

    def __init__(self, app: Endpoint, target: str, method: str, body: bytes, headers: dict[str, str]) -> None:
        url = urlsplit(target)
        if body:
            headers = {"content-type": "application/json", "content-length": str(len(body)), **headers}
        self._scope = {
            "type": "http",
            "method": method,
            "path": url.path,
            "query_string": url.query.encode(),
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
            "client": ("10.0.0.1", 5),
        }
        self._body = body
        self._gone = asyncio.Event()
        self.status = 0
        self.headers: dict[str, str] = {}
        self.pieces: list[bytes] = []
        self.task = asyncio.get_running_loop().create_task(app(self._scope, self._receive, self._send))

    def leave(self) -> None:
        """Close the connection."""
        self._gone.set()

    @property
    def account(self) -> Any:
        return self._scope["account"]

    async def reply(self) -> Reply:
        """The whole answer."""
        await asyncio.wait_for(self.task, 30)
        return Reply(self.status, self.headers, b"".join(self.pieces))

    async def _receive(self) -> dict[str, Any]:
        if self._body:
            body, self._body = self._body, b""
            return {"type": "http.request", "body": body, "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        elif message["body"]:
            self.pieces.append(message["body"])


class House:
    """/generate over one fake line."""

    def __init__(self, bundle: Path, cache_bytes: int = 100_000) -> None:
        model = Model(open_bundle(bundle).manifest, "print", threads=1, startup={}, engine=ENGINE)
        self.line = FakeLine(model)
        self.dispatch = self.line.dispatch
        self.metrics = Metrics()
        self.cache = ResponseCache(cache_bytes)
        lines: Any = FakeLines(self.line)
        self.desk = Desk(lines, self.cache, self.metrics)
        self._app = Endpoint(Generate(self.desk, lines, 64), self.metrics)

    async def ask(self, target: str, method: str = "POST", body: bytes = b"", **headers: str) -> Client:
        """Send a request and wait until it has come as far as it can."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        client = Client(self._app, target, method, body, named)
        await settle()
        return client

    def jobs(self) -> list[Job]:
        """Jobs submitted and not over."""
        return list(self.dispatch.jobs.values())

    def metric(self, series: str) -> float:
        """The value of a series, 0 if it is not there."""
        for line in self.metrics.text().decode().splitlines():
            name, _, value = line.rpartition(" ")
            if name == series:
                return float(value)
        return 0.0


async def settle() -> None:
    """Let everything run that can."""
    for _ in range(20):
        await asyncio.sleep(0)

"""The processes of `tests.bench.fleet_crowd`: worker machines without engines, and API processes without HTTP.

What speaks to Redis is the real thing: server.fleet's Agent on one side, its FleetLines on the other. Simulated are the
engine, which takes T(b) = ALPHA + BETA b for a tick of b rows and no processor time, and the clients.

    python -m tests.bench.fleet_simulated agents URL NUMBER
    python -m tests.bench.fleet_simulated api URL AGENTS REQUESTS_PER_SECOND SECONDS SEED

Each says "ready", begins with the first line of its stdin, and says in the end what it counted, as JSON. Agents end
when their stdin does.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections import Counter
from typing import Any

import uvloop

from export.runtime.bundle import open_bundle
from export.runtime.flags import CPU
from server.backend.dispatch import OnPart
from server.backend.model import Model
from server.backend.roads import Overtaken
from server.fleet.agent import Agent
from server.fleet.connection import Redis
from server.fleet.keys import Keys
from server.fleet.line import FleetLine
from server.fleet.lines import FleetLines, own_name
from server.fleet.where import Where
from server.jobs import Expired, Job, JobFailed, Priority, Result, Stages
from server.schedule.admission import Bounds, Refused, Wanted
from server.schedule.costs import Costs
from server.workers import DEMO
from tests.server.fleet.roads import Nobody, until

ALPHA = 0.02
BETA = 0.005
MAX_ROWS = 16
"""Seconds, and rows of a tick: 150 row-steps per second at the knee, 12 rows."""

STEPS = (2, 4, 8)
WEIGHTS = (3, 3, 4)
MEAN_STEPS = sum(steps * weight for steps, weight in zip(STEPS, WEIGHTS)) / sum(WEIGHTS)
"""Of the requests, one image each: five row-steps in the mean."""

BATCH = 0.1
"""Share of batch work."""

DEADLINE = 10.0
"""Seconds. What is refused would say that there are too few workers, and nothing of Redis."""

PATIENCE = 30.0
"""Seconds after the last request, until what has no answer is lost."""

PICTURE_BYTES = 3200
"""As large as the demo's pictures."""

WIDE = Bounds(10**6, 10**7, 2**40)


def picture(seed: int, steps: int) -> bytes:
    """The answer to a job, and to no other one."""
    return (b"%d/%d " % (seed, steps)).ljust(PICTURE_BYTES, b".")


class SleepingLine:
    """A local line as an agent needs it, with a worker that only takes its time."""

    def __init__(self) -> None:
        engine = {"name": CPU, "precision": "fp32"}
        self.model = Model(open_bundle(DEMO).manifest, "simulated", 1, {}, engine)
        self.ready = asyncio.Event()
        self.ready.set()
        self.up = True
        self.dispatch = SleepingDispatch()


class SleepingDispatch:
    """Runs jobs as a worker does: ticks of up to the knee's rows, each with a step of the oldest jobs."""

    def __init__(self) -> None:
        self.workers = 1
        self.costs = Costs(MAX_ROWS)
        for rows in range(1, MAX_ROWS + 1):
            self.costs.observe(rows, ALPHA + BETA * rows)
        self.row_steps = 0
        self._knee = self.costs.knee
        self._jobs: dict[int, tuple[Job, asyncio.Future[Result]]] = {}
        self._left: dict[int, int] = {}
        """Steps that each job has before it."""
        self._loop = asyncio.get_running_loop()
        self._ticking = False

    def hear(self) -> None:
        """Nothing was not heard."""

    async def submit(self, job: Job, on_part: OnPart | None = None, *, alone: bool = False) -> asyncio.Future[Result]:
        """Take a job of one row."""
        answer: asyncio.Future[Result] = self._loop.create_future()
        self._jobs[job.id] = job, answer
        self._left[job.id] = job.steps
        if not self._ticking:
            self._tick()
        return answer

    def cancel(self, number: int) -> None:
        """Drop a job."""
        self._left.pop(number, None)
        if number in self._jobs:
            self._jobs.pop(number)[1].cancel()

    def _tick(self) -> None:
        rows = list(self._left)[: self._knee]
        self._ticking = bool(rows)
        if rows:
            self._loop.call_later(ALPHA + BETA * len(rows), self._ticked, rows)

    def _ticked(self, rows: list[int]) -> None:
        self.row_steps += len(rows)
        for number in rows:
            if number not in self._left:
                continue
            self._left[number] -= 1
            if not self._left[number]:
                del self._left[number]
                job, answer = self._jobs.pop(number)
                answer.set_result(Result([0], Stages(0.0, 0.0, 0.0, 0.0), [picture(job.seed, job.steps)]))
        self._tick()


async def stdin_line() -> str:
    """The next line of stdin; empty at its end."""
    return await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)


def redis_at(url: str, name: str) -> Redis:
    """A process's Redis."""
    return Redis(Where(url), name, lambda text: print(text, file=sys.stderr))


async def agents(url: str, number: int) -> dict[str, Any]:
    """So many worker machines in this process, until stdin ends."""
    machines, lines = [], []
    for _ in range(number):
        name = own_name()
        machines.append(Agent(redis_at(url, name), Keys(), name))
        lines.append(SleepingLine())
    await asyncio.gather(*(agent.join(line) for agent, line in zip(machines, lines)))  # type: ignore[arg-type]
    print("ready", flush=True)
    while await stdin_line():
        pass
    left = sum(await asyncio.gather(*(agent.drain(5.0) for agent in machines)))
    counted = Counter[str]()
    for agent in machines:
        for hold in agent.holds:
            counted.update(hold.ended)
            counted.update({f"buried: {why}": times for why, times in hold.buried.items()})
            counted["reclaimed"] += hold.reclaimed
        counted["overtaken"] += agent.overtaken
        await agent.close()
    return {**counted, "left": left, "row_steps": sum(line.dispatch.row_steps for line in lines)}


class Clients:
    """Ask one API process for pictures, and count what becomes of it."""

    def __init__(self, line: FleetLine, seed: int) -> None:
        self._line = line
        self._random = random.Random(seed)
        self._first = seed * 10**9
        self.row_steps = 0
        self.counted = Counter[str]()
        self.seconds: list[float] = []
        """From the moment at which each was due to its answer."""
        self.late: list[float] = []
        """How long after that each was sent: what this machine and not the fleet is to blame for."""

    async def ask(self, rate: float, seconds: float) -> None:
        """A Poisson stream, whatever the answers; returns when all are there, or PATIENCE is over."""
        asking = set()
        due = time.monotonic()
        end = due + seconds
        while (due := due + self._random.expovariate(rate)) < end:
            if (early := due - time.monotonic()) > 0:
                await asyncio.sleep(early)
            self.late.append(time.monotonic() - due)
            self.counted["sent"] += 1
            task = asyncio.create_task(self._one(self._first + self.counted["sent"], due))
            asking.add(task)
            task.add_done_callback(asking.discard)
        if asking:
            _, pending = await asyncio.wait(asking, timeout=PATIENCE)
            self.counted["lost"] += len(pending)

    async def _one(self, seed: int, due: float) -> None:
        steps = self._random.choices(STEPS, WEIGHTS)[0]
        self.row_steps += steps
        priority: Priority = "batch" if self._random.random() < BATCH else "interactive"
        try:
            result = await self._answer(seed, steps, priority)
        except Overtaken:
            self.counted["refused"] += 1
        except Expired:
            self.counted["expired"] += 1
        except JobFailed as error:
            self.counted["errors"] += 1
            print(error, file=sys.stderr)
        else:
            self.counted["answered" if result.blobs == [picture(seed, steps)] else "wrong"] += 1
            self.seconds.append(time.monotonic() - due)

    async def _answer(self, seed: int, steps: int, priority: Priority) -> Result:
        now, line = time.monotonic(), self._line
        goal = line.admit(Wanted("client", priority, 1, (steps,), now, DEADLINE, 0), now)
        if isinstance(goal, Refused):
            raise Overtaken(goal)
        job = Job(seed, "client", priority, now, goal.due, goal.deadline, seed, 1, 0, steps, None, "png", "whole")
        return await (await line.dispatch.submit(job))


async def api(url: str, machines: int, rate: float, seconds: float, seed: int) -> dict[str, Any]:
    """An API process, and its clients."""
    lines = FleetLines(redis_at(url, "api"), Keys(), own_name(), WIDE, DEADLINE, Nobody())
    lines.start()
    await until(lambda: lines.lines and len(lines.lines[0].agents) == machines, "all agents are there")
    print("ready", flush=True)
    await stdin_line()
    clients = Clients(lines.lines[0], seed)
    await clients.ask(rate, seconds)
    lines.close("the measurement is over")
    await lines.stop()
    return {
        "counted": clients.counted,
        "row_steps": clients.row_steps,
        "seconds": [round(one, 4) for one in clients.seconds],
        "late": [round(one, 4) for one in clients.late],
    }


def main() -> None:
    role, url, *numbers = sys.argv[1:]
    if role == "agents":
        work = agents(url, int(numbers[0]))
    else:
        work = api(url, int(numbers[0]), float(numbers[1]), float(numbers[2]), int(numbers[3]))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(runner.run(work)), flush=True)


if __name__ == "__main__":
    main()

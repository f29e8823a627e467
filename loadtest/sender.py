"""A client process: sends its part of the load, looks at every reply, and hands back what became of it.

Started by `processes` as `python -m loadtest.sender FD`, with a pipe to the measuring process, which it ends with.
"""

from __future__ import annotations

import asyncio
import gc
import random
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, Literal

from loadtest import verify
from loadtest.client import Client, Reply, new_loop
from loadtest.closedloop import ClosedLoop
from loadtest.kept import Kept
from loadtest.messages import Assignment, Findings, Harvest, Tick
from loadtest.openloop import OpenLoop
from loadtest.records import FAILURE_CODES, NO_STAGES, STAGES, Records
from loadtest.settings import Steps
from loadtest.traffic import Writer
from loadtest.verify import Wrong
from loadtest.warmup import Arrived

TICK = 0.2
"""Seconds between two reports on how it goes."""

MOST_ARRIVED = 300
"""Replies of one tick that are told of one by one; of more, a part."""

DECODING_SECONDS = 5.0
"""The longest that kept replies are decoded after a run."""


class Sender:
    """Sends requests and keeps what becomes of them."""

    def __init__(self, part: Assignment) -> None:
        self._part = part
        self._kinds = part.mix.kinds if part.requests is None else part.requests.kinds
        self._expected = [part.expected[kind] for kind in self._kinds]
        self._writer = Writer(part.settings, part.host, part.prefix)
        share = -(-part.settings.connections // part.settings.processes)
        self._client = Client(part.address, part.settings.timeout, share)
        self._records = Records()
        self._findings = Findings()
        self._tick = Tick()
        self._rng = random.Random(part.process)
        self._to_decode = Kept(part.body_bytes, self._rng)
        self._to_compare = Kept(part.body_bytes, self._rng)

    def send(
        self, intended: float, kind: int, seed: int, case: int, then: Callable[[bool], None] | None = None
    ) -> None:
        """Send a request that should be sent at `intended`; `then` is called with whether its reply was good."""
        self._tick.sent += 1
        data = self._writer.write(self._kinds[kind], seed)

        def done(reply: Reply) -> None:
            good = self._take(intended, kind, case, reply)
            if then is not None:
                then(good)

        self._client.send(data, done)

    def tick(self) -> Tick:
        """What happened since the last call."""
        tick, self._tick = self._tick, Tick()
        tick.in_flight = self._client.in_flight
        if len(tick.arrived) > MOST_ARRIVED:
            tick.arrived = sorted(self._rng.sample(tick.arrived, MOST_ARRIVED))
        return tick

    async def answered(self) -> None:
        """Wait until nothing is in flight; each request has a timeout."""
        await self._client.drained()

    async def harvest(self, unsent: int) -> Harvest:
        """End, look at what was kept, and hand everything back. What is in flight stays without outcome."""
        self._client.abandon()
        await self._client.close()
        self._compare()
        self._decode()
        return Harvest(self._records, self._kinds, self._findings, unsent, self._client.retried, self._client.fault)

    def _take(self, intended: float, kind: int, case: int, reply: Reply) -> bool:
        status = reply.status or FAILURE_CODES.get(reply.failure, 0)
        stages, used = NO_STAGES, 0
        if status == 200:
            status = self._look(kind, case, reply)
            stages = _stages(reply.headers.get(b"server-timing", b""))
            said = reply.headers.get(b"longjump-steps", b"")
            used = int(said) if said.isdigit() and len(said) < 6 else 0
        if status == 200:
            self._to_decode.add(len(self._records), reply.body)
            steps: Steps = self._kinds[kind].steps
            self._tick.arrived.append(Arrived(reply.done, reply.done - intended, steps))
        self._tick.statuses[status] += 1
        self._tick.latest = max(self._tick.latest, reply.begun - intended)
        self._records.add(intended, reply.begun, reply.done, kind, status, len(reply.body), used, stages)
        return status == 200

    def _look(self, kind: int, case: int, reply: Reply) -> int:
        """The status of a reply with 200, after a look at it."""
        findings, expected = self._findings, self._expected[kind]
        findings.checked += 1
        try:
            verify.glance(expected, reply.headers.get(b"content-type", b"").decode("latin-1"), reply.body)
        except Wrong as wrong:
            findings.wrong += 1
            findings.fault(f"a reply to steps={self._kinds[kind].steps}: {wrong}")
            return FAILURE_CODES["wrong"]
        if case >= 0:
            self._to_compare.add(case, reply.body)
        return 200

    def _compare(self) -> None:
        for case, body in self._to_compare.take():
            asked = self._part.mix.cases[case]
            expected = self._part.expected[asked.kind]
            self._findings.compared += 1
            if verify.digest(expected, body) != self._part.references[case]:
                self._findings.different += 1
                where = f"steps={asked.kind.steps}, seed={asked.seed}"
                self._findings.fault(f"{where}: other bytes under load than from the idle server")

    def _decode(self) -> None:
        until = time.monotonic() + DECODING_SECONDS
        for row, body in self._to_decode.take():
            if time.monotonic() > until:
                break
            kind = self._records.kind[row]
            self._findings.decoded += 1
            try:
                verify.decode(self._expected[kind], body)
            except Wrong as wrong:
                self._records.status[row] = FAILURE_CODES["wrong"]
                self._findings.wrong += 1
                self._findings.fault(f"a reply to steps={self._kinds[kind].steps}: {wrong}")


LONGEST_STAGE = 3.6e6
"""Milliseconds that a server may say that a stage took; an hour."""


def _stages(server_timing: bytes) -> tuple[float, ...]:
    """Milliseconds of each of STAGES in a Server-Timing header; nan: not there."""
    if not server_timing:
        return NO_STAGES
    found = dict.fromkeys(STAGES, float("nan"))
    for entry in server_timing.decode("latin-1").split(","):
        name, *parameters = (text.strip() for text in entry.split(";"))
        for parameter in parameters:
            if name in found and parameter.startswith("dur="):
                try:
                    value = float(parameter[4:].strip('"'))
                except ValueError:
                    continue
                if 0 <= value < LONGEST_STAGE:
                    found[name] = value
    return tuple(found.values())


async def serve(link: Connection) -> None:
    """Do what the measuring process says, over `link`: an Assignment; ("start", at); then ("end", at), ("stop",).

    The last two come at any time. What goes back: "ready", Ticks, a Harvest.
    """
    loop = asyncio.get_running_loop()
    part = link.recv()
    assert isinstance(part, Assignment)
    sender = Sender(part)
    gc.collect()
    gc.freeze()
    gc.disable()
    link.send("ready")
    word, at = link.recv()
    assert word == "start"
    stopped = asyncio.Event()
    if part.times is None or part.requests is None:
        course: ClosedLoop | OpenLoop = ClosedLoop(
            sender.send, at, part.mix, part.concurrency, part.settings.seed, part.process, part.settings.processes
        )
    else:
        course = OpenLoop(sender.send, at, part.times, part.requests)

    def obey() -> None:
        try:
            order: tuple[Literal["end"], float] | tuple[Literal["stop"]] = link.recv()
        except (EOFError, OSError):  # the measuring process is gone, and so is who would read the result
            sys.exit(1)
        if order[0] == "stop":
            course.end(loop.time())
            stopped.set()
        else:
            course.end(order[1])

    loop.add_reader(link.fileno(), obey)
    whole = loop.create_task(_whole(course, sender))
    stop = loop.create_task(stopped.wait())
    while not whole.done() and not stop.done():
        await asyncio.wait((whole, stop), timeout=TICK, return_when=asyncio.FIRST_COMPLETED)
        link.send(sender.tick())
    whole.cancel()
    stop.cancel()
    loop.remove_reader(link.fileno())
    link.send(await sender.harvest(course.unsent))


async def _whole(course: OpenLoop | ClosedLoop, sender: Sender) -> None:
    await course.over
    await sender.answered()


def main() -> None:
    """The process."""
    link: Connection[Any, Any] = Connection(int(sys.argv[1]))
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(serve(link))


if __name__ == "__main__":
    main()

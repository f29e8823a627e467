"""Work may be done twice; its client sees one answer, and the load is counted off once."""

from __future__ import annotations

import os
import signal

from ...conftest import eventually
from .conftest import Standing, Tell


def test_frozen_worker_wakes_after_its_work_was_taken(fleet: Standing, tell: Tell) -> None:
    """It answers first what another one is at work on."""
    sent = fleet.hold(12)
    first, second = fleet.workers
    os.killpg(first.process.pid, signal.SIGSTOP)
    eventually(lambda: fleet.has(first) == 0, "its work was taken")
    first.open_gate()
    os.killpg(first.process.pid, signal.SIGCONT)
    eventually(lambda: first.says("ready") and fleet.whole(), "it is back")
    second.open_gate()
    counts = tell("frozen worker wakes", sent.heard() + fleet.send(8).heard())
    assert counts.answered == counts.sent


def test_work_is_delivered_twice(fleet: Standing, tell: Tell) -> None:
    """Each entry is there twice, as after a command that was sent again; and both workers have the same ones."""
    sent = fleet.hold(12)
    with fleet.redis.client(decode_responses=True) as client:
        for stream in client.keys("*:work:*"):
            priority = stream.rpartition(":")[2]
            load = stream.replace("work", "load").removesuffix(f":{priority}")
            entries = client.xrange(stream)
            for _, fields in entries:
                client.xadd(stream, fields)
                client.hincrby(load, priority, int(fields["row_steps"]))
                client.hincrby(load, "bytes", int(fields["size"]))
            client.xclaim(stream, "workers", "nobody", 0, [entry for entry, _ in entries], idle=10**9, justid=True)
    eventually(lambda: "nobody" not in fleet.holders(), "the living have taken it")
    fleet.open_gates()
    counts = tell("everything delivered twice", sent.heard())
    assert counts.answered == counts.sent

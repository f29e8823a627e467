"""What a process had that died is done by others; only the clients of a dead API process see that it is gone."""

from __future__ import annotations

import os
import signal

from ...conftest import eventually
from .conftest import Standing, Tell


def test_worker_killed_in_mid_tick(fleet: Standing, tell: Tell) -> None:
    """The whole machine is gone: the agent and its engine's process at once."""
    sent = fleet.hold(24)
    first, second = fleet.workers
    fleet.kill(first)
    second.open_gate()
    counts = tell("worker killed in mid-tick", sent.heard())
    assert counts.answered == counts.sent


def test_engine_killed_in_mid_tick(fleet: Standing, tell: Tell) -> None:
    """Its agent lives on and starts it again."""
    sent = fleet.hold(24)
    for worker in fleet.workers:
        os.kill(worker.worker(), signal.SIGKILL)
    fleet.open_gates()
    counts = tell("engine killed in mid-tick", sent.heard())
    assert counts.answered == counts.sent


def test_api_process_killed(fleet: Standing, tell: Tell) -> None:
    """Its clients ask the other one again, as clients do."""
    fleet.close_gates()
    first, second = fleet.apis
    doomed, others = fleet.send(12, apis=[first]), fleet.send(12, apis=[second])
    eventually(lambda: fleet.held()[0] == 24, "all are in Redis")
    fleet.kill(first)
    broken = doomed.heard()
    again = fleet.send(12, apis=[second])
    fleet.open_gates()
    counts = tell("API process killed", broken + others.heard() + again.heard())
    assert (counts.answered, counts.errored) == (24, 12)
    assert all(one.fate == "errored" for one in broken)

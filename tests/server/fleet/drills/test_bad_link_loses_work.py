"""Ways to Redis that are slow, lossy or cut cost time, never an answer."""

from __future__ import annotations

import os
import time

from ...conftest import eventually
from .conftest import ROUND, Standing, Tell


def test_everything_takes_200_ms(fleet: Standing, tell: Tell) -> None:
    for link in fleet.links:
        link.slow(0.2)
    counts = tell("200 ms each way", fleet.send(24).heard())
    assert counts.answered == counts.sent


def test_connections_stall_and_break(fleet: Standing, tell: Tell) -> None:
    """Who cannot be let in is told so; whoever was let in is answered."""
    broken = sum(link.broken for link in fleet.links)
    for number, link in enumerate(fleet.links):
        link.lossy(10 * int(os.environ.get(ROUND, 0)) + number, stalls=0.05, breaks=0.03)
    heard = []
    while sum(link.broken for link in fleet.links) < broken + 16:
        heard += fleet.send(12).heard()
    counts = tell("lossy links", heard)
    assert counts.errored == 0


def test_worker_cut_off(fleet: Standing, tell: Tell) -> None:
    """Nobody is told that it is, and it goes on working."""
    sent = fleet.hold(24)
    fleet.links[2].cut()
    fleet.open_gates()
    heard = sent.heard()
    fleet.links[2].heal()
    eventually(fleet.whole, "the worker is back")
    counts = tell("worker cut off, and back", heard + fleet.send(8).heard())
    assert counts.answered == counts.sent


def test_api_process_cut_off(fleet: Standing, tell: Tell) -> None:
    """The other one serves on; what it had asked for is answered when it is back."""
    first, second = fleet.apis
    sent = fleet.hold(16)
    fleet.links[0].cut()
    fleet.open_gates()
    meanwhile, others = fleet.send(6, apis=[first]), fleet.send(6, apis=[second]).heard()
    time.sleep(3)  # longer than a round trip may take
    refused = meanwhile.heard()
    fleet.links[0].heal()
    heard = sent.heard() + others
    counts = tell("API process cut off, and back", heard + refused)
    assert all(one.fate == "answered" for one in heard)
    assert counts.refused == 6

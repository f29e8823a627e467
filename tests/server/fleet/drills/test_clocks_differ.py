"""Machines whose clocks differ by more than a deadline: the fleet's clock is Redis', so nothing changes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ...conftest import eventually
from .conftest import Standing, Tell


def skewed(by: str) -> dict[str, str]:
    """The environment of a process whose wall clock is wrong by `by` seconds."""
    libraries = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    if not libraries:
        pytest.skip("needs libfaketime: apt install libfaketime")
    return {"LD_PRELOAD": str(libraries[0]), "FAKETIME": f"{by}s", "FAKETIME_DONT_FAKE_MONOTONIC": "0"}


def test_clocks_are_30_seconds_off(fleet: Standing, tell: Tell) -> None:
    told = subprocess.check_output(
        [sys.executable, "-c", "import time; print(time.time())"], env={**os.environ, **skewed("+30")}
    )
    assert 20 < float(told) - time.time() < 40, "the drill does what it says"
    fleet.kill(fleet.apis[0], fleet.workers[0])
    fleet.apis[0], fleet.workers[0] = fleet.new_api(0, **skewed("-30")), fleet.new_worker(0, **skewed("+30"))
    fleet.open_gates()
    fleet.apis[0].wait_until_ready()
    eventually(fleet.whole, "all are there")
    heard = fleet.send(24, deadline=10).heard()
    sent = fleet.hold(12, deadline=10)
    fleet.kill(fleet.workers[1])  # also with work that is taken over
    fleet.workers[0].open_gate()
    counts = tell("clocks 30 s apart", heard + sent.heard())
    fleet.kill(fleet.apis[0], fleet.workers[0])
    assert counts.answered == counts.sent


def test_clock_of_redis_leaps(fleet: Standing, tell: Tell) -> None:
    """It moves to a machine whose clock is wrong, and back: by more than all deadlines, forwards and backwards."""
    heard = []
    for inside in (("env", *(f"{name}={value}" for name, value in skewed("+30").items())), ()):
        sent = fleet.hold(16, deadline=10)
        fleet.redis.kill()
        fleet.redis.inside = inside
        fleet.redis.start()
        fleet.open_gates()
        heard += sent.heard()
        eventually(fleet.whole, "all are back")
    tell("Redis' clock leaps by 30 s, and back", heard + fleet.send(8).heard())
    fleet.redis.kill()
    fleet.forget()  # its streams would number their entries by the wrong clock for 30 s more
    eventually(fleet.whole, "all are back")
    eventually(
        lambda: all(one.fate == "answered" for one in fleet.send(4).heard()), "both API processes go by its clock again"
    )

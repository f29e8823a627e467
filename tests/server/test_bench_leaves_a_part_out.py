"""`longjump bench` prints every target and every part, whatever the times are."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from .conftest import ROOT

QUICK = ("--launches", "1", "--requests", "3", "--seconds", "0.2")


def bench(bundle: Path, *only: str) -> str:
    """What the bench prints."""
    command = [sys.executable, str(ROOT / "longjump.py"), "bench", str(bundle), *QUICK, "--only", *only]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == ""
    return ran.stdout


def figures(printed: str) -> dict[str, float]:
    """Target -> figure, from the table."""
    rows = re.findall(r"^(\S.*?) {2,}(\S+).* at (?:least|most) ", printed, re.MULTILINE)
    return {what: float(figure) for what, figure in rows}


def test_launch_and_idle_show_their_parts(points: Path) -> None:
    printed = bench(points, "launch", "idle")
    found = figures(printed)
    assert set(found) == {"launch to ready, median", "idle one-step request beyond the floor, median"}
    assert found["launch to ready, median"] > 0
    for part in ("worker: imports", "worker: load the engine", "meanwhile, the API process", "raw floor", "queue"):
        assert part in printed


def test_load_is_measured_against_its_floor(images: Path) -> None:
    found = figures(bench(images, "memory", "throughput", "mixed"))
    assert set(found) == {
        "memory (PSS), one worker",
        "throughput, of the raw loop",
        "PNG bytes, of Pillow's at level 1",
        "mixed load: 1-step p99 over its idle median",
        "mixed load: 4-step p99 over its idle median",
    }
    assert all(figure > 0 for figure in found.values())


def test_engine_that_sleeps_is_overloaded(images: Path) -> None:
    found = figures(bench(images, "overload"))
    for name in ("longjump, engine sleeps", "longjump"):
        for what in ("goodput of capacity", "p99 of accepted", "idle again after"):
            assert f"overload, {name}: {what}" in found

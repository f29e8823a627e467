"""`longjump bench` prints launch and request with all their parts, whatever the times are."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import ROOT


@pytest.mark.parametrize("kind", ["images", "points"])
def test_bench_prints_every_part(kind: str, request: pytest.FixtureRequest) -> None:
    bundle: Path = request.getfixturevalue(kind)
    command = [sys.executable, str(ROOT / "longjump.py"), "bench", str(bundle), "--launches", "1", "--requests", "4"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    assert "Traceback" not in ran.stderr
    figures = dict(re.findall(r"^(\S.*?|  \S.*?) {2,}(-?[\d.]+)(?: |$)", ran.stdout, re.MULTILINE))
    assert {"launch to ready", "raw floor", "over HTTP", "beyond the floor", "over HTTP / raw floor"} <= set(figures)
    for part in ("worker: imports", "worker: load the engine", "meanwhile, the API process", "noise", "network"):
        assert any(name.strip() == part for name in figures), (part, ran.stdout)
    assert float(figures["over HTTP"]) > 0

"""The crowd's bench runs what it says, and does not pass over a request that nobody answered."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.bench import fleet_crowd
from tests.server.fleet.redis_server import RedisServer

FEW = argparse.Namespace(workers=3, rate=60.0, seconds=1.5, worker_processes=1, api_processes=1)


def test_few_workers_answer_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fleet_crowd.measure(FEW, tmp_path) == 0
    said = capsys.readouterr().out
    assert "wrong 0, lost 0" in said
    assert "commands a second" in said


@pytest.mark.parametrize(
    ("counted", "ended", "left", "code"),
    [
        ({"sent": 9, "answered": 9}, {"done": 9}, 0, 0),
        ({"sent": 9, "answered": 8, "lost": 1}, {"done": 8}, 0, 1),
        ({"sent": 9, "answered": 8, "wrong": 1}, {"done": 9}, 0, 1),
        ({"sent": 9, "answered": 9}, {"done": 9, "overtaken": 1}, 0, 1),
        ({"sent": 9, "answered": 9}, {"done": 9}, 1, 1),
    ],
)
def test_a_loss_is_told(tmp_path: Path, counted: dict[str, int], ended: dict[str, int], left: int, code: int) -> None:
    asked: list[dict[str, Any]] = [{"counted": counted, "row_steps": 45, "seconds": [0.1, 0.2], "late": [0.0, 0.0]}]
    server = RedisServer(tmp_path)
    try:
        window = fleet_crowd.Window(server, {})
        with window.open():
            pass
    finally:
        server.kill()
    assert fleet_crowd.report(FEW, "6", asked, Counter(ended), left, window, window) == code

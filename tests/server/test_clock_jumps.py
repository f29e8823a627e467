"""A wall clock that jumps by days between any two looks at it changes nothing but the times that are told to people."""

from __future__ import annotations

from pathlib import Path

from .conftest import Start

JUMPING = """
import itertools, time

real, days = time.time, itertools.cycle((0, 3, -400, 1, -2, 9000))
time.time = lambda: real() + 86400 * next(days)
time.time_ns = lambda: int(1e9 * time.time())
"""


def test_clock_jumps(start: Start, images: Path, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(JUMPING)
    server = start(images, "--deadline", "5000", PYTHONPATH=str(tmp_path))
    targets = [f"/generate?seed={seed}&steps={steps}" for seed in range(10) for steps in (1, 2, 4)]
    answers = [server.send(target) for target in targets]
    assert [answer.result().status_code for answer in answers] == [200] * len(targets)
    assert server.client.post("/generate?seed=1&deadline_ms=2000").status_code == 200
    assert 0 <= server.metric("longjump_request_seconds_sum") < 100
    for stage in ("queue", "network", "decode", "encode"):
        series = [f'longjump_stage_seconds_sum{{stage="{stage}",steps="{steps}"}}' for steps in (1, 2, 4)]
        assert all(0 <= server.metric(one) < 100 for one in series)
    assert server.metric("longjump_worker_restarts_total") == 0


def test_jumping_clock_is_seen(start: Start, images: Path, tmp_path: Path) -> None:
    """Control: the server runs under that clock, so it would have noticed."""
    (tmp_path / "sitecustomize.py").write_text(JUMPING + "raise SystemExit('this clock is used')")
    server = start(images, ready=False, PYTHONPATH=str(tmp_path))
    server.process.wait(60)
    server._reader.join()
    assert "this clock is used" in "".join(server.said)

"""Processes end together: at a stop that one of them is told, and at a failure of one, with one reason, no debris."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from trainer.data.dataset import open_dataset
from trainer.loop import train

from .cases import case

pytestmark = pytest.mark.timeout(1300)  # a job of its own: see PATIENCE

Launch = Callable[[str], tuple[list[Any], Path]]

FAILURES = {
    "not finite": (1, r"Diverged: step 5: [\w/]+ is nan", ["step-00000003"]),
    "unreadable": (1, r"OSError: row 7 cannot be read", ["step-00000003"]),
    "full disk": (0, r"OSError: \[Errno 28\] No space left", ["step-00000003"]),
    "there": (0, r"FileExistsError: .*straight is not empty", ["step-00000003", "step-00000006"]),
}


def test_resumed_run_ends_elsewhere(launch: Launch, weights: Any) -> None:
    """6 steps against 5 + 1, where an epoch has 2, so that the stop comes within one: the same bytes."""
    _, out = launch("runs")
    straight, resumed = out / "straight" / "step-00000006", out / "paused" / "step-00000006"
    assert len(weights(straight)) == 4
    assert weights(straight) == weights(resumed)


def test_stop_reaches_one_process_only(launch: Launch) -> None:
    """The second one was told after step 5: both left, after one checkpoint, which both see."""
    _, out = launch("runs")
    assert [(out / f"paused-{rank}.txt").read_text() for rank in range(2)] == ["step-00000003\nstep-00000005"] * 2


@pytest.mark.parametrize("name", FAILURES)
def test_failure_of_one_leaves_the_other(launch: Launch, name: str) -> None:
    """One tells, the other ends quietly; the checkpoints before it are there, and nothing half-written."""
    found, out = launch("runs")
    rank, told, checkpoints = FAILURES[name]
    assert re.match(told, found[rank][name])
    assert found[1 - rank][name] == f"FailedElsewhere: process {rank} failed, and tells why"
    folder = out / ("straight" if name == "there" else name)
    assert sorted(path.name for path in folder.glob("*step-*")) == checkpoints


def test_threads_are_set_by_accelerate(launch: Launch) -> None:
    found, _ = launch("runs")
    assert all(one["threads kept"] for one in found)


@pytest.mark.usefixtures("plain_cards")
def test_one_process_cannot_go_on(launch: Launch, grey: Path, tmp_path: Path) -> None:
    """A run of two processes, resumed by one from its fourth step, comes to the same weights but for rounding."""
    _, out = launch("runs")
    run = tmp_path / "run"
    shutil.copytree(out / "straight", run, symlinks=True)
    shutil.rmtree(run / "step-00000006")
    resumed = load_file(
        train(case("dit", {"method": "meanflow"}), open_dataset(grey), run, resume=True) / "model.safetensors"
    )
    straight = load_file(out / "straight" / "step-00000006" / "model.safetensors")
    for name, value in straight.items():
        assert value.allclose(resumed[name], rtol=1e-4, atol=2e-6), name

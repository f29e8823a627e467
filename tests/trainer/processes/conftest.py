"""Two processes of this machine, connected by gloo."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

ROOT = Path(__file__).parents[3]
PATIENCE = 600
"""Seconds after which two processes count as hanging. The longest job takes one, beside other tests several minutes."""

Launched = tuple[list[Any], Path]


@pytest.fixture(scope="session")
def launch(tmp_path_factory: pytest.TempPathFactory, points: Path, grey: Path) -> Callable[[str], Launched]:
    """`launch("same")`: a job of `work.py` on two processes -> what each found, and their folder; once a session."""
    done: dict[str, Launched] = {}
    failed: set[str] = set()

    def run(job: str) -> Launched:
        assert job not in failed, f"{job} failed in an earlier test"
        if job not in done:
            failed.add(job)
            out = tmp_path_factory.mktemp(job)
            torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
            words = ["-m", "tests.trainer.processes.work", job, str(points), str(grey), str(out)]
            environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
            ran = subprocess.run(
                [*torchrun, *words], cwd=out, env=environment, capture_output=True, text=True, timeout=PATIENCE
            )
            assert ran.returncode == 0, ran.stderr
            done[job] = [torch.load(out / f"{rank}.pt", weights_only=True) for rank in range(2)], out
            failed.remove(job)
        return done[job]

    return run

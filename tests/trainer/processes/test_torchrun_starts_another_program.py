"""torchrun with the installed script: the command of docs/scale.md, in a folder with a `models` of the person's own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import PATIENCE

pytestmark = pytest.mark.timeout(1300)  # a job of its own: see PATIENCE


def test_torchrun_trains_with_their_models(
    tmp_path: Path, points: Path, tiny_command: Callable[..., list[str]]
) -> None:
    """Trains and says so once; the same again is refused in one line of ours."""
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "__init__.py").write_text("raise SystemExit('their own models was imported')\n")
    script = Path(sys.executable).parent / "longjump"
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(script)]
    command = [
        *torchrun,
        "train",
        *tiny_command("points/meanflow", "run.steps=3"),
        "--data",
        str(points),
        "--out",
        "run",
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, "--device", "cpu"],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )

    ran = run()
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.count("on 2 processes") == ran.stdout.count("done: run/step-00000003") == 1
    again = run()
    assert again.returncode != 0
    assert [line for line in again.stderr.splitlines() if line.startswith("longjump")] == [
        "longjump train: error: run is not empty; give another --out, or --resume to go on with the run in it"
    ]

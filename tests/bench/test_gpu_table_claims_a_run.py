"""Where there is no GPU, nothing that is for one says that it was run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

HOME = Path(__file__).parents[2]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    # No GPU is shown to it, so that this is tested on machines with one as well.
    return subprocess.run(
        (sys.executable, "-m", *arguments),
        cwd=HOME,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_table_is_not_run() -> None:
    done = run("tests.bench.gpu_table")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("not run: ")
    assert done.stdout.count("\n") == 1


def test_make_test_gpu_refuses() -> None:
    done = run("tests.gpu.present")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("longjump: not run: ")


def test_asked_for_they_fail_and_unasked_they_are_not_chosen() -> None:
    asked = run("pytest", "-q", "-p", "no:cacheprovider", "-m", "gpu", "tests/gpu")
    assert asked.returncode == 1
    assert "not run: " in asked.stdout
    assert not re.search(r"[0-9]+ (passed|skipped)", asked.stdout)
    unasked = run("pytest", "-q", "-p", "no:cacheprovider", "tests/gpu")
    assert unasked.returncode == 5
    assert re.search(r"[0-9]+ deselected", unasked.stdout)

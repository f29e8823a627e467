"""The Makefile: `make serve` installs only what serving needs, once; a Python that will not do is refused clearly."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from .conftest import clean_environment


def make(root: Path, *arguments: str, dry: bool = True) -> subprocess.CompletedProcess[str]:
    environment = clean_environment()
    for name in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MAKEOVERRIDES"):  # these tests may themselves run under make
        environment.pop(name, None)
    command = ["make", "--no-print-directory", *(["--dry-run"] if dry else []), *arguments]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, env=environment)


@pytest.fixture
def fresh(tmp_path: Path) -> str:
    """Make's argument for an environment that does not exist."""
    return f"VENV={tmp_path / 'venv'}"


def test_fresh_serve_installs_the_engine_and_no_torch(root: Path, fresh: str) -> None:
    plan = make(root, "serve", fresh).stdout
    assert "'.[cpu]'" in plan
    assert "'.[dev]'" not in plan
    assert "--constraint constraints.txt" in plan


def test_fresh_test_installs_all_and_runs_every_check(root: Path, fresh: str) -> None:
    plan = make(root, "test", fresh).stdout
    steps = ["-m venv", "'.[dev]'", "ruff check", "ruff format --check", "mypy", "-m pytest"]
    assert [step for step in steps if step not in plan] == []
    assert [plan.index(step) for step in steps] == sorted(plan.index(step) for step in steps)


def test_nothing_is_installed_twice(root: Path, tmp_path: Path, fresh: str) -> None:
    stamps = tmp_path / "venv"
    stamps.mkdir()
    later = time.time() + 60
    for name in (".made", ".serve", ".dev"):
        (stamps / name).touch()
        os.utime(stamps / name, (later, later))
    assert "pip install" not in make(root, "serve", fresh).stdout
    assert "pip install" not in make(root, "test", fresh).stdout
    os.utime(stamps / ".serve", (0, 0))
    assert "pip install" in make(root, "serve", fresh).stdout


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (
            '#!/bin/sh\ncase "$*" in *version_info*) exit 1;; -V) echo Python 3.9.2;; esac\n',
            "needs Python 3.11 or newer, but {python} is Python 3.9.2",
        ),
        ('#!/bin/sh\ncase "$*" in *ensurepip*) exit 1;; esac\n', "apt install python3-venv"),
        (None, "{python} not found"),
    ],
    ids=["old", "no-venv", "absent"],
)
def test_unfit_python_is_named(root: Path, tmp_path: Path, fresh: str, script: str | None, message: str) -> None:
    python = tmp_path / "python-of-theirs"
    if script is not None:
        python.write_text(script)
        python.chmod(0o755)
    ran = make(root, "serve", fresh, f"PYTHON={python}", dry=False)
    assert ran.returncode != 0
    assert message.format(python=python) in ran.stderr
    assert not (tmp_path / "venv").exists()


def test_help_lists_every_target(root: Path) -> None:
    ran = make(root, dry=False)
    assert ran.stderr == "", "a target defined twice, for instance"
    listed = ran.stdout
    targets = [
        line.removeprefix(".PHONY: ") for line in (root / "Makefile").read_text().splitlines() if "PHONY" in line
    ]
    assert targets
    assert [name for name in targets if f"\n  {name} " not in listed] == []

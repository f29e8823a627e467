"""Every subcommand answers --help from the installed wheel, quickly enough to be read: without torch, in any folder."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import longjump as front

from .conftest import Run, clean_environment


@pytest.mark.parametrize("name", front.COMMANDS)
def test_help_of_every_command(longjump: Run, tmp_path: Path, name: str) -> None:
    ran = longjump(name, "--help", cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith(f"usage: longjump {name}")
    assert len(ran.stdout.splitlines()) > 5, "a newcomer needs more than a usage line"


@pytest.mark.parametrize("name", front.COMMANDS)
def test_help_loads_no_torch(root: Path, name: str) -> None:
    code = (
        "import sys, longjump\n"
        "try:\n    longjump.main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'onnxruntime', 'onnx', 'matplotlib', 'scipy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    command = [sys.executable, "-c", code, name, "--help"]
    ran = subprocess.run(command, cwd=root, capture_output=True, text=True, env=clean_environment())
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("name", front.COMMANDS)
def test_owner_keeps_the_contract(name: str) -> None:
    owner = importlib.import_module(front.COMMANDS[name].module)
    assert owner.__doc__
    assert callable(owner.add_arguments)
    assert callable(owner.run)

"""Every subcommand answers --help from the installed wheel, quickly enough to be read: without torch, in any folder."""

from __future__ import annotations

import importlib
import json
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


@pytest.fixture(scope="module")
def loaded(root: Path) -> dict[str, list[str]]:
    """Command -> what is heavy among the modules that its --help loads, all in one process."""
    code = (
        "import contextlib, io, json, sys, longjump\n"
        "loaded = {}\n"
        "for name in longjump.COMMANDS:\n"
        "    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()) as said:\n"
        "        longjump.main([name, '--help'])\n"
        "    assert said.getvalue().startswith('usage:'), name\n"
        "    loaded[name] = [*({'torch', 'onnxruntime', 'onnx', 'matplotlib', 'scipy'} & set(sys.modules))]\n"
        "print(json.dumps(loaded))\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, env=clean_environment()
    )
    assert ran.returncode == 0, ran.stderr
    found: dict[str, list[str]] = json.loads(ran.stdout)
    return found


@pytest.mark.parametrize("name", front.COMMANDS)
def test_help_loads_no_torch(loaded: dict[str, list[str]], name: str) -> None:
    assert not loaded[name], "loaded by this command's --help, or by that of one before it"


@pytest.mark.parametrize("name", front.COMMANDS)
def test_owner_keeps_the_contract(name: str) -> None:
    owner = importlib.import_module(front.COMMANDS[name].module)
    assert owner.__doc__
    assert callable(owner.add_arguments)
    assert callable(owner.run)

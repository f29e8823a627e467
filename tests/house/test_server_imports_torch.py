"""Serving starts and runs on a machine without torch: no module of server or export.runtime may load it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import clean_environment
from .imports import TORCHLESS_COMMANDS

PROBE = """
import importlib, sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "onnxscript", "safetensors", "trainer", "models"):
            raise SystemExit(f"{name} was imported")

sys.meta_path.insert(0, Refuse())
for name in sys.argv[1:]:
    importlib.import_module(name)
"""


def probe(root: Path, *modules: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", PROBE, *modules]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, env=clean_environment())


def modules_of(root: Path, package: str) -> list[str]:
    paths = sorted((root / package).rglob("*.py"))
    names = [path.relative_to(root).with_suffix("").as_posix().replace("/", ".") for path in paths]
    return [name.removesuffix(".__init__") for name in names if not name.endswith("__main__")]


@pytest.mark.parametrize("package", ["export/runtime", "server", "loadtest"])
def test_no_module_imports_torch(root: Path, package: str) -> None:
    modules = modules_of(root, package)
    assert modules, f"no module found in {package}"
    ran = probe(root, *modules)
    assert ran.returncode == 0, ran.stderr


def test_commands_of_a_serving_machine_import_no_torch(root: Path) -> None:
    ran = probe(root, *TORCHLESS_COMMANDS)
    assert ran.returncode == 0, ran.stderr


def test_control_the_probe_sees_torch(root: Path) -> None:
    ran = probe(root, "models.flow_map")
    assert ran.returncode != 0
    assert "was imported" in ran.stderr

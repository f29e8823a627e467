"""The image: what its linter says, what it ships and runs, and its steps carried out in a clean root."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
from packaging.utils import canonicalize_name

from server import serve
from tests.deploy.queries import ROOT

DOCKERFILE = ROOT / "deploy" / "docker" / "cpu.Dockerfile"
HADOLINT = Path(sys.executable).with_name("hadolint")
MEBIBYTE = 2**20


@pytest.fixture(scope="module")
def steps() -> ModuleType:
    """deploy/clean_root.py, which is no package's."""
    spec = importlib.util.spec_from_file_location("clean_root", ROOT / "deploy" / "clean_root.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def lint(path: Path) -> tuple[int, str]:
    ran = subprocess.run([HADOLINT, path], capture_output=True, text=True, timeout=60, check=False)
    return ran.returncode, ran.stdout + ran.stderr


def test_linter_finds_nothing() -> None:
    assert lint(DOCKERFILE) == (0, "")


def test_control_linter_finds_a_base_that_floats(tmp_path: Path) -> None:
    path = tmp_path / "Dockerfile"
    path.write_text(DOCKERFILE.read_text().replace("FROM python:${PYTHON}", "FROM python"))
    code, said = lint(path)
    assert code != 0
    assert "DL3006" in said


def test_server_understands_the_command(steps: ModuleType) -> None:
    command, *arguments = json.loads(steps.last("CMD"))
    assert (json.loads(steps.last("ENTRYPOINT")), command) == (["longjump"], "serve")
    parser = argparse.ArgumentParser(exit_on_error=False)
    serve.add_arguments(parser)
    args = parser.parse_args(arguments)
    assert (args.host, str(args.port)) == ("0.0.0.0", steps.last("EXPOSE"))


def test_image_runs_as_nobody_else(steps: ModuleType) -> None:
    user, group = steps.last("USER").split(":")
    assert int(user) > 0
    assert int(group) > 0
    labels = [rest for keyword, rest in steps.instructions() if keyword == "LABEL"]
    wanted = ("title", "description", "licenses", "version", "revision")
    assert [name for name in wanted if f"org.opencontainers.image.{name}=" not in labels[-1]] == []


def test_builder_gets_all_that_is_shipped(steps: ModuleType) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = {*project["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"], "pyproject.toml"}
    wanted |= {project["project"]["readme"], *project["project"]["license-files"], "constraints.txt"}
    assert wanted | {"deploy/docker/install.sh"} == set(steps.shipped())


def test_control_instructions_are_read_whole(steps: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "Dockerfile"
    path.write_text("# RUN nothing\nRUN one \\\n # said between\n && two\nUSER 1:1\n")
    assert [*steps.instructions(path)] == [("RUN", "one && two"), ("USER", "1:1")]


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("unshare") is None, reason="needs root, to mount and to chroot")
@pytest.mark.timeout(900)
def test_image_serves_from_a_clean_root(tmp_path: Path) -> None:
    """Its steps are run, most of the time pip's, and then its server, as its user on a root that is read-only."""
    command = [sys.executable, ROOT / "deploy" / "clean_root.py", "--report", tmp_path / "report.json"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=880, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    found = json.loads((tmp_path / "report.json").read_text())
    assert found["user"] == "10001"
    assert found["png_bytes"] > 100
    assert found["bytes"] < 300 * MEBIBYTE
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line[:60])
    pins = {canonicalize_name(name): version for name, version in pins.items() if not name.startswith("#")}
    packages = {canonicalize_name(name): version for name, version in found["packages"].items()}
    assert {"longjump", "onnxruntime", "uvicorn", "opentelemetry-sdk", "redis"} <= packages.keys()
    assert packages.keys().isdisjoint({"torch", "pip", "setuptools"})
    assert {name for name, version in packages.items() if pins.get(name) != version} == {"longjump"}

"""The image: what its linter says, what it ships and runs, and its steps carried out in a clean root."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
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
IMAGES = sorted(DOCKERFILE.parent.glob("*.Dockerfile"))
NAMES = [path.stem for path in IMAGES]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
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


@pytest.mark.parametrize("image", IMAGES, ids=NAMES)
def test_linter_finds_nothing(image: Path) -> None:
    assert lint(image) == (0, "")


def test_control_linter_finds_a_base_that_floats(tmp_path: Path) -> None:
    path = tmp_path / "Dockerfile"
    path.write_text(DOCKERFILE.read_text().replace("FROM python:${PYTHON}", "FROM python"))
    code, said = lint(path)
    assert code != 0
    assert "DL3006" in said


@pytest.mark.parametrize("image", IMAGES, ids=NAMES)
def test_server_understands_the_command(steps: ModuleType, image: Path) -> None:
    command, *arguments = json.loads(steps.last("CMD", image))
    assert (json.loads(steps.last("ENTRYPOINT", image)), command) == (["longjump"], "serve")
    parser = argparse.ArgumentParser(exit_on_error=False)
    serve.add_arguments(parser)
    args = parser.parse_args(arguments)
    assert (args.host, str(args.port)) == ("0.0.0.0", steps.last("EXPOSE", image))
    assert f":{args.port}/readyz" in steps.last("HEALTHCHECK", image)


@pytest.mark.parametrize("image", IMAGES, ids=NAMES)
def test_image_runs_as_nobody_else(steps: ModuleType, image: Path) -> None:
    user, group = steps.last("USER", image).split(":")
    assert int(user) > 0
    assert int(group) > 0
    labels = [rest for keyword, rest in steps.instructions(image) if keyword == "LABEL"]
    wanted = ("title", "description", "licenses", "version", "revision")
    assert [name for name in wanted if f"org.opencontainers.image.{name}=" not in labels[-1]] == []


@pytest.mark.parametrize("image", IMAGES, ids=NAMES)
def test_builder_gets_all_that_is_shipped(steps: ModuleType, image: Path) -> None:
    wanted = {*PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"], "pyproject.toml"}
    wanted |= {PROJECT["project"]["readme"], *PROJECT["project"]["license-files"], "constraints.txt"}
    assert wanted | {"deploy/docker/install.sh"} == set(steps.shipped(image))


@pytest.mark.parametrize("image", IMAGES, ids=NAMES)
def test_every_variable_is_read_by_somebody(steps: ModuleType, image: Path) -> None:
    """Of ours; and where they point, the image's user may write."""
    ours = {name: value for name, value in steps.environment(image).items() if name.startswith("LONGJUMP_")}
    assert ours
    sources = "".join(path.read_text() for folder in ("server", "export") for path in (ROOT / folder).rglob("*.py"))
    assert [name for name in ours if f'"{name}"' not in sources] == []
    runs = " ".join(rest for keyword, rest in steps.instructions(image) if keyword == "RUN")
    own = runs.partition("install -d -o longjump -g longjump ")[2].split()
    assert [value for value in ours.values() if not any(value.startswith(folder) for folder in own)] == []


@pytest.mark.parametrize("image", IMAGES, ids=NAMES)
def test_extras_that_are_installed_exist_and_bring_one_engine(steps: ModuleType, image: Path) -> None:
    (run,) = [rest for keyword, rest in steps.instructions(image) if keyword == "RUN" and "install.sh" in rest]
    default = re.search(r"EXTRAS:-([\w,]+)", (DOCKERFILE.parent / "install.sh").read_text())
    assert default is not None
    given = re.search(r"EXTRAS=([\w,]+)", run) or default
    extras = {*given[1].split(",")}
    assert extras <= PROJECT["project"]["optional-dependencies"].keys()
    assert {"otel", "redis"} < extras
    assert len(extras & {"cpu", "gpu"}) == 1, "onnxruntime and onnxruntime-gpu install the same files"


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

"""The wheel holds the packages with their data, and nothing else."""

from __future__ import annotations

import re
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

import longjump


@pytest.fixture(scope="module")
def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_only_the_packages_are_shipped(names: set[str]) -> None:
    tops = {name.partition("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == {"longjump.py", "longjump_client.py", "models", "trainer", "export", "server", "loadtest"}


def test_no_cache_and_no_half_written_file(names: set[str]) -> None:
    assert not [name for name in names if re.search(r"__pycache__|\.pyc$|\.tmp$|\.ipynb_checkpoints", name)]


def test_every_package_file_is_shipped(names: set[str], root: Path) -> None:
    """Data lies beside the code: the quantile table, the recipes, the demo. None may be forgotten or git-ignored."""
    for package in ("models", "trainer", "export", "server", "loadtest"):
        here = [path for path in (root / package).rglob("*") if path.is_file()]
        wanted = {path.relative_to(root).as_posix() for path in here if path.suffix not in (".pyc", ".tmp", ".swp")}
        assert wanted <= names, f"not in the wheel: {sorted(wanted - names)}"


def test_data_the_code_reads_is_there(names: set[str]) -> None:
    assert "export/runtime/normal_quantiles.npy" in names
    assert any(re.fullmatch(r"trainer/recipes/.+\.yaml", name) for name in names)


def test_licence_travels_along(names: set[str], wheel: Path) -> None:
    info = next(name.partition("/")[0] for name in names if ".dist-info/" in name)
    assert {f"{info}/licenses/LICENSE", f"{info}/licenses/THIRD_PARTY.md"} <= names
    with zipfile.ZipFile(wheel) as archive:
        metadata = Parser().parsestr(archive.read(f"{info}/METADATA").decode())
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Version"] == longjump.__version__
    assert metadata["Requires-Python"] == ">=3.11"

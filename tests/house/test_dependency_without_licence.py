"""THIRD_PARTY.md must name every library that longjump installs, and every class of the facets data with CC0."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from trainer.data import facets

from .declared import declared


@pytest.fixture(scope="module")
def rows(root: Path) -> dict[str, list[str]]:
    """First cell -> the row's other cells, over all tables."""
    lines = (root / "THIRD_PARTY.md").read_text(encoding="utf-8").splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    return {canonicalize_name(first): rest for first, *rest in cells}


def test_every_library_is_listed_under_its_extra(root: Path, rows: dict[str, list[str]]) -> None:
    for extra, lines in declared(root).items():
        for one in lines if extra != "dev" else []:
            name = canonicalize_name(one.name)
            assert name in rows, f"{name} is not in THIRD_PARTY.md"
            wanted = f"`{extra}`" if extra else "base"
            assert wanted in rows[name][-1], (
                f"{name}: THIRD_PARTY.md says {rows[name][-1]}, pyproject.toml says {wanted}"
            )


def test_every_tool_is_named(root: Path) -> None:
    page = (root / "THIRD_PARTY.md").read_text(encoding="utf-8")
    tools = {one.name for one in declared(root)["dev"]}
    assert not {name for name in tools if not re.search(rf"\b{re.escape(name)}\b", page)}


def test_every_class_of_facets_is_cc0(rows: dict[str, list[str]]) -> None:
    for name in facets.CLASSES:
        assert rows[name][-1] == "CC0 1.0"

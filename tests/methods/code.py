"""A digest of the code that decides what a method's training comes to, so that a result is kept while it holds."""

from __future__ import annotations

import ast
import hashlib
from functools import cache
from pathlib import Path

from tests.house.imports import imports_of

ROOT = Path(__file__).parents[2]
ROOTS = ("trainer.loop", "trainer.start", "trainer.sampling", "tests.methods.measure")
SHOWS = ("trainer.card", "trainer.readme", "trainer.track", "trainer.progress", "trainer.listing")
"""Modules that show a run and decide nothing about it."""


@cache
def code_digest(module: str, roots: tuple[str, ...] | None = None, without: tuple[str, ...] = SHOWS) -> str:
    """Of all modules that `module` and `roots` reach but through `without`, without what they only tell people.

    `roots`: None: what trains a points recipe of `module`'s objective and measures it.
    """
    reached, ahead = set[str](), [*(ROOTS if roots is None else roots), module]
    while ahead:
        name = ahead.pop()
        file = _file(name)
        if name in reached or name in without or file is None:
            continue
        reached.add(name)
        ahead += [each.module for each in imports_of(file, ROOT)]
    digest = hashlib.sha256()
    for name in sorted(reached):
        digest.update(f"{name} {_content(name)}\n".encode())
    return digest.hexdigest()


@cache
def _content(name: str) -> str:
    file = _file(name)
    assert file is not None
    tree = ast.parse(file.read_text("utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            node.body = [each for each in node.body if not _is_told(each)]
        elif isinstance(node, ast.Raise):
            node.exc = node.cause = None  # a training that ends in an error has no result
        elif isinstance(node, ast.Call):
            node.keywords = [each for each in node.keywords if each.arg != "description"]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


def _is_told(node: ast.stmt) -> bool:
    """Whether a statement only tells people something: a docstring, or a method's reference."""
    if isinstance(node, ast.AnnAssign):
        return isinstance(node.target, ast.Name) and node.target.id == "reference"
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


@cache
def _file(name: str) -> Path | None:
    path = ROOT.joinpath(*name.split("."))
    for file in (path.with_suffix(".py"), path / "__init__.py"):
        if file.is_file():
            return file
    return None

"""Which modules a source file imports, read from its syntax tree (nothing is run)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

PACKAGES = ("models", "trainer", "export", "server", "loadtest")

TORCHLESS_COMMANDS = (
    "export.wrap",
    "export.inspect",
    "export.generate",
    "server.serve",
    "server.bench.command",
    "server.bench.soak",
    "server.key",
    "loadtest.command",
)
"""Owners of subcommands that run where torch is not installed."""


class Import(NamedTuple):
    """`file` (relative to the root) imports `module` (absolute, dotted) at `line`."""

    file: str
    line: int
    module: str


def sources(root: Path) -> list[Path]:
    """The Python files that are shipped: the front door, the client and the packages."""
    modules = [root / "longjump.py", root / "longjump_client.py"]
    return [*modules, *(path for name in PACKAGES for path in sorted((root / name).rglob("*.py")))]


def imports_of(path: Path, root: Path) -> Iterator[Import]:
    """Every import in `path`, wherever it stands: at the top, in a function, for the type checker only.

    ``from a import b`` yields both ``a`` and ``a.b``, since b may be a module.
    """
    file = path.relative_to(root)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), filename=str(path))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(str(file), node.lineno, alias.name)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = file.with_suffix("").parts[: -node.level]
                base = ".".join([*package, *([base] if base else [])])
            yield Import(str(file), node.lineno, base)
            for alias in node.names:
                yield Import(str(file), node.lineno, f"{base}.{alias.name}")
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name | ast.Attribute)
            and (node.func.id if isinstance(node.func, ast.Name) else node.func.attr) in ("import_module", "__import__")
            and node.args
            and isinstance(node.args[0], ast.Constant)
            and isinstance(node.args[0].value, str)
        ):
            yield Import(str(file), node.lineno, node.args[0].value)

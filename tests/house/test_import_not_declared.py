"""What the code imports must be what pyproject.toml declares, in the right extra, and the other way round."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from longjump import EXTRA_OF

from .declared import BY_NAME_ONLY, RESERVED_EXTRAS, declared, distributions_of, extras_within
from .imports import PACKAGES, TORCHLESS_COMMANDS, Import, imports_of, sources

SERVING = (
    "longjump.py",
    "longjump_client.py",
    "export/runtime/",
    "server/",
    "loadtest/",
    *(name.replace(".", "/") + ".py" for name in TORCHLESS_COMMANDS),
)
"""Files that must run without the extra `train`."""

OPTIONAL = {
    "server/fleet/": "redis",
    "server/observe/traces.py": "otel",
    "loadtest/": "loadtest",
    "trainer/evaluate/": "eval",
}
"""File or folder -> the extra without which nothing imports it."""


@cache
def third_party(root: Path) -> list[Import]:
    others = {*PACKAGES, "longjump", "__future__"} | sys.stdlib_module_names
    found = (one for path in sources(root) for one in imports_of(path, root))
    return [one for one in found if one.module.partition(".")[0] not in others]


@cache
def names_in(root: Path, extra: str) -> frozenset[str]:
    """The distributions that an extra declares, in canonical spelling."""
    return frozenset(canonicalize_name(one.name) for one in declared(root)[extra])


def undeclared(found: Import, root: Path) -> str | None:
    """What is wrong with this third-party import, or None."""
    extras = {"", "cpu", "bundle"} if found.file.startswith(SERVING) else {"", "cpu"} | extras_within(root, "train")
    extras |= {extra for place, extra in OPTIONAL.items() if found.file.startswith(place)}
    allowed: set[str] = set().union(*(names_in(root, extra) for extra in extras))
    module = found.module.partition(".")[0]
    if distributions_of(module) & allowed:
        return None
    return f"{found.file}:{found.line} imports {found.module}, which none of {sorted(extras)} declares ('' = always)"


def test_no_undeclared_import(root: Path) -> None:
    wrong = [text for found in third_party(root) if (text := undeclared(found, root))]
    assert not wrong, "\n".join(wrong)


def test_no_unused_dependency(root: Path) -> None:
    used = {name for found in third_party(root) for name in distributions_of(found.module.partition(".")[0])}
    unused = [
        f"{one} ({extra or 'base'})"
        for extra, lines in declared(root).items()
        for one in lines
        if extra not in RESERVED_EXTRAS | {"dev"}
        and canonicalize_name(one.name) not in used
        and canonicalize_name(one.name) not in BY_NAME_ONLY
    ]
    assert not unused, f"declared and never imported: {', '.join(unused)}"


@pytest.mark.parametrize(
    ("file", "module"),
    [("server/http/api.py", "scipy.stats"), ("server/http/api.py", "httpx"), ("trainer/loop.py", "hypothesis")],
)
def test_control_undeclared_import_is_seen(root: Path, file: str, module: str) -> None:
    assert undeclared(Import(file, 1, module), root)


def test_missing_library_names_an_extra_that_has_it(root: Path) -> None:
    """The front door's advice 'pip install longjump[X]' must install the module in question."""
    optional = {extra for extra in declared(root) if extra not in RESERVED_EXTRAS | {"", "dev"}}
    for module, extra in EXTRA_OF.items():
        within = {canonicalize_name(one.name) for one in declared(root)[extra]}
        assert extra in optional
        assert distributions_of(module) & within, f"extra {extra!r} does not install {module!r}"
    for extra in optional:
        for one in declared(root)[extra]:
            name = canonicalize_name(one.name)
            assert any(name in distributions_of(module) for module in EXTRA_OF), f"EXTRA_OF lacks a module of {name}"

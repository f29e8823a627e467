"""CI's pins must be exact, portable, inside the declared bounds, and cover every dependency."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from .declared import RESERVED_EXTRAS, declared


def pins(root: Path) -> dict[str, Version]:
    lines = (root / "constraints.txt").read_text(encoding="utf-8").splitlines()
    found: dict[str, Version] = {}
    for line in lines:
        text = line.partition("#")[0].strip()
        if not text:
            continue
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9A-Za-z.]*", text), f"not an exact, portable pin: {line!r}"
        name, _, version = text.partition("==")
        assert canonicalize_name(name) not in found, f"{name} is pinned twice"
        found[canonicalize_name(name)] = Version(version)
    return found


def test_every_dependency_is_pinned_within_its_bounds(root: Path) -> None:
    pinned = pins(root)
    for extra, lines in declared(root).items():
        for one in lines:
            name = canonicalize_name(one.name)
            if extra in RESERVED_EXTRAS:  # not part of `dev`
                continue
            assert name in pinned, f"{one} has no pin in constraints.txt"
            assert pinned[name] in one.specifier, f"{name}=={pinned[name]} is outside {one.specifier}"


def test_every_bound_has_an_upper_end(root: Path) -> None:
    """A bound without an end promises that every future release works."""
    tools = {"packaging"}
    for lines in declared(root).values():
        for one in lines:
            operators = {spec.operator for spec in one.specifier}
            assert one.name in tools or operators & {"<", "=="}, f"{one} has no upper bound"


def test_nothing_floats(root: Path) -> None:
    """What the pinned packages need is pinned too, or two runs of CI would install different things."""
    pinned, floating = pins(root), set()
    for name in pinned:
        try:
            found = distribution(name)
        except PackageNotFoundError:
            continue
        if Version(found.version).public != str(pinned[name]):
            continue  # another version's needs say nothing about the pinned one's
        needs = [Requirement(line) for line in found.requires or []]
        applicable = [one for one in needs if one.marker is None or one.marker.evaluate({"extra": ""})]
        floating |= {f"{one.name} (of {name})" for one in applicable if canonicalize_name(one.name) not in pinned}
    assert not floating, f"not pinned: {', '.join(sorted(floating))}"

"""What pyproject.toml declares: dependencies, extras, and the modules that they provide."""

from __future__ import annotations

import re
import tomllib
from functools import cache
from importlib.metadata import packages_distributions
from importlib.util import find_spec
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

BY_NAME_ONLY: dict[str, str] = {
    "fastapi-offline": "a package of files for /docs, found with importlib",
    "uvloop": "uvicorn loads its event loop by name",
    "onnxscript": "torch.onnx.export(dynamo=True) imports it",
    "tensorboard": "torch.utils.tensorboard imports it",
    "dicebear-styles": "a package of JSON files, read with importlib.resources",
    "tensorrt-rtx-cu13": "export/runtime/engines/libraries.py imports one of two libraries by name",
}
"""Declared, used, and never imported by our code: distribution -> who uses it."""

RESERVED_EXTRAS = {"gpu", "gpu-jpeg"}
"""Extras that cannot be installed beside the others (gpu: the same module as cpu), and what is for them only."""

SELF = "longjump"


@cache
def project(root: Path) -> dict[str, dict[str, object]]:
    return tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))


@cache
def declared(root: Path) -> dict[str, list[Requirement]]:
    """Extra -> its requirements; the base dependencies under ''. References to our own extras are left out."""
    table = project(root)["project"]
    groups = {"": table["dependencies"], **table["optional-dependencies"]}  # type: ignore[dict-item]
    parsed = {extra: [Requirement(line) for line in lines] for extra, lines in groups.items()}
    return {extra: [one for one in lines if one.name != SELF] for extra, lines in parsed.items()}


@cache
def extras_within(root: Path, extra: str) -> frozenset[str]:
    """`extra` and the extras of ours that it contains."""
    table = project(root)["project"]["optional-dependencies"]
    inner = [Requirement(line).extras for line in table[extra] if re.match(r"longjump\[", line)]  # type: ignore[index]
    return frozenset({extra}).union(*(extras_within(root, one) for extras in inner for one in extras))


@cache
def _providers() -> dict[str, list[str]]:
    return dict(packages_distributions())


def distributions_of(module: str) -> set[str]:
    """The installed distributions that provide top-level `module`, in canonical spelling."""
    providers = _providers().get(module)
    if providers is None:  # a package of data files only is not listed: there, the distribution has the module's name
        providers = [module] if find_spec(module) else []
    return {canonicalize_name(name) for name in providers}

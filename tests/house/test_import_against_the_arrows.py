"""The folders' arrows run one way: an import against them must not land."""

from __future__ import annotations

from collections.abc import Iterable
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from .imports import PACKAGES, Import, imports_of, sources

ALLOWED: dict[str, tuple[str, ...]] = {
    "export/runtime/": ("export.runtime",),
    "export/": ("export", "models"),
    "models/": ("models",),
    "trainer/": ("trainer", "models", "export.runtime"),
    "server/": ("server", "export.runtime"),
    "loadtest/": ("loadtest",),
    "longjump.py": (),
    "longjump_client.py": (),
}
"""Folder -> what it may import of ours; the first prefix that matches counts. The front door imports by name, late."""

TORCH = ("torch", "torchvision", "torchaudio", "onnxscript", "safetensors")
NO_TORCH = ("export/runtime/", "server/", "loadtest/", "longjump.py", "longjump_client.py")


def against(found: Import) -> str | None:
    """What is wrong with this import, or None."""
    folder = next(prefix for prefix in ALLOWED if found.file.startswith(prefix))
    top = found.module.partition(".")[0]
    if top in TORCH and folder in NO_TORCH:
        return f"{found.file}:{found.line} imports {found.module}, but {folder} runs without torch"
    if top == "tests":
        return f"{found.file}:{found.line} imports {found.module}; tests are not shipped"
    if top not in PACKAGES:
        return None
    fits = any(found.module == one or found.module.startswith(one + ".") for one in ALLOWED[folder])
    # `from export import runtime` names the bare package `export` on its way.
    passing = any(one.startswith(found.module + ".") for one in ALLOWED[folder])
    if fits or passing:
        return None
    allowed = ", ".join(ALLOWED[folder]) or "nothing"
    return f"{found.file}:{found.line} imports {found.module}; {folder} may import {allowed}"


def test_no_import_against_the_arrows(root: Path) -> None:
    wrong = [text for path in sources(root) for found in imports_of(path, root) if (text := against(found))]
    assert not wrong, "\n".join(wrong)


def room(module: str) -> str:
    """What of the server a module is in: its folder, or itself where it is in none."""
    return ".".join(module.split(".")[:2])


def round_trip(found: Iterable[Import], rooms: set[str]) -> list[str] | None:
    """Rooms of the server that import each other in a ring, or None; an import for the type checker counts too."""
    arrows: dict[str, set[str]] = {}
    for one in found:
        here, there = room(one.file.removesuffix(".py").replace("/", ".")), room(one.module)
        if here in rooms and there in rooms and here != there:
            arrows.setdefault(here, set()).add(there)
    try:
        TopologicalSorter(arrows).prepare()
    except CycleError as error:
        return list(error.args[1])
    return None


def rooms_of(root: Path) -> set[str]:
    """The rooms of the server."""
    parts = (path for path in (root / "server").iterdir() if path.stem != "__init__")
    return {f"server.{path.stem}" for path in parts if path.suffix == ".py" or any(path.glob("*.py"))}


def test_rooms_of_the_server_do_not_import_each_other(root: Path) -> None:
    rooms = rooms_of(root)
    assert {"server.http", "server.errands", "server.fleet", "server.serve"} <= rooms
    found = [one for path in sources(root) for one in imports_of(path, root)]
    ring = round_trip(found, rooms)
    assert ring is None, " -> ".join(ring)


def test_control_a_ring_of_rooms_is_seen() -> None:
    rooms = {"server.http", "server.errands", "server.commons"}
    found = [
        Import("server/errands/store.py", 1, "server.http.once"),
        Import("server/commons.py", 1, "server.errands.store"),
        Import("server/http/ask.py", 1, "server.http.plan"),
    ]
    assert round_trip(found, rooms) is None
    assert round_trip([*found, Import("server/http/flags.py", 1, "server.commons.Commons")], rooms) is not None


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("models/dit.py", "from trainer import loop"),
        ("models/dit.py", "import export.runtime.noise"),
        ("trainer/loop.py", "from export.check import parity"),
        ("trainer/loop.py", "from server.serve import run"),
        ("export/wrap.py", "import trainer.recipe"),
        ("export/runtime/noise.py", "from models.flow_map import FlowMap"),
        ("export/runtime/noise.py", "from ..strip import strip"),
        ("export/runtime/engines/onnxruntime.py", "import torch"),
        ("server/http/api.py", "from export.export import run"),
        ("server/http/api.py", "def f():\n    import torch.nn"),
        ("server/http/api.py", "from importlib import import_module\nimport_module('models.dit')"),
        ("server/http/api.py", "from tests.conftest import x"),
        ("longjump.py", "import server"),
        ("longjump_client.py", "from server.http.ask import Ask"),
    ],
)
def test_control_each_wrong_arrow_is_seen(tmp_path: Path, file: str, line: str) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(line + "\n")
    assert any(against(found) for found in imports_of(path, tmp_path))


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("trainer/loop.py", "from export.runtime import sampler"),
        ("server/http/api.py", "from export.runtime.bundle import open_bundle"),
        ("server/http/api.py", "from .backend import queue"),
        ("export/runtime/engines/onnxruntime.py", "from ..bundle import Bundle\nimport onnxruntime"),
        ("export/export.py", "import torch\nfrom models.checkpoint import load_checkpoint"),
    ],
)
def test_control_right_arrows_pass(tmp_path: Path, file: str, line: str) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(line + "\n")
    assert not [text for found in imports_of(path, tmp_path) if (text := against(found))]

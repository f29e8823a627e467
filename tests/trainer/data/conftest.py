"""What the tests of the data share: npz files, the command, and one tiny facets build."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainer.data import build
from trainer.data.facets import draw_facets


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    """Write the given arrays to an npz file and return its path."""

    def write(name: str = "mine.npz", **arrays: Any) -> Path:
        path = tmp_path / name
        np.savez(path, **arrays)
        return path

    return write


@pytest.fixture
def data_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], int]:
    """Run `longjump data ...` in this process, in an empty folder; errors are raised."""
    monkeypatch.chdir(tmp_path)

    def run(line: str) -> int:
        parser = argparse.ArgumentParser(prog="longjump data")
        build.add_arguments(parser)
        return build.run(parser.parse_args(line.split()))

    return run


@pytest.fixture(scope="session")
def tiny_facets() -> dict[str, np.ndarray]:
    """Two training pictures and one test picture per class, drawn in this process."""
    return draw_facets(32, 32, 16, workers=1, progress=False)

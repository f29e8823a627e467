"""On a machine without a GPU these tests are not chosen (pyproject.toml: the marker `gpu`); asked for, they fail."""

from __future__ import annotations

import pytest

from ..export.conftest import make_bundle, make_jump
from .present import missing

__all__ = ["make_bundle", "make_jump"]


@pytest.fixture(scope="session", autouse=True)
def _gpu() -> None:
    """What all of them need."""
    if gone := missing():
        pytest.fail(f"not run: {gone}", pytrace=False)

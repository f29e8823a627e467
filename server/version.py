"""Which longjump is installed."""

from __future__ import annotations

import importlib.metadata


def version() -> str:
    """The version of longjump that is installed."""
    try:
        return importlib.metadata.version("longjump")
    except importlib.metadata.PackageNotFoundError:
        return "0 (not installed)"

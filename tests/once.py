"""What is made once, not again and again: by the processes that share a run of the tests, or by one of them."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A copy of the folder that `make` made, in whichever process of this run came first; the others wait for it."""
    root = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    made, partial = root / name, root / f"{name}.partial"
    with (root / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            shutil.rmtree(partial, ignore_errors=True)  # of a process that failed
            make(partial)
            partial.rename(made)
    return shutil.copytree(made, factory.mktemp(name) / "copy")


@cache
def read_operators_once() -> None:
    """Let torch's exporter read its translations of operators once: for every graph again, it takes a second."""
    from torch.onnx._internal.exporter._registration import ONNXRegistry

    ONNXRegistry.from_torchlib = staticmethod(cache(ONNXRegistry.from_torchlib))

"""A machine with a GPU that is none: the fake library installed, its device behind CuPy's place."""

from __future__ import annotations

import sys

import pytest

from export.runtime.engines import machine, tensorrt
from export.runtime.engines.libraries import LIBRARIES
from export.runtime.engines.machine import Gpu
from export.tensorrt import order

from .fake_tensorrt import FakeDevice, make_library

GPU = Gpu("Fake 4090", "sm89", "13.0")
VERSIONS = {"tensorrt": "10.14.1.48", "tensorrt-rtx": "1.7.1.116"}


def install(
    monkeypatch: pytest.MonkeyPatch,
    backend: str,
    gpu: Gpu | None = GPU,
    version: str | None = None,
    drift: float = 0.0,
) -> FakeDevice:
    """Make this machine one with that library and GPU, for the test; its device."""
    device = FakeDevice()
    name = LIBRARIES[backend].module
    library = make_library(name, version or VERSIONS[backend], device if gpu else None, drift)
    monkeypatch.setitem(sys.modules, name, library)
    pretend(monkeypatch, gpu)
    monkeypatch.setattr(tensorrt, "CupyDevice", lambda: device)
    return device


def pretend(monkeypatch: pytest.MonkeyPatch, gpu: Gpu | None) -> None:
    """Let this machine have that GPU, as far as anybody asks for it, and CuPy."""
    for module in (machine, order):
        monkeypatch.setattr(module, "find_gpu", lambda: gpu or "no NVIDIA driver")
    monkeypatch.setattr(machine, "CUPY", "json")  # any module that is there

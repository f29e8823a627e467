"""A machine with a GPU that is none: the fake library installed, its device behind CuPy's place."""

from __future__ import annotations

import sys

import onnxruntime as ort
import pytest

from export.runtime.engines import cuda, machine, tensorrt
from export.runtime.engines.libraries import LIBRARIES
from export.runtime.engines.machine import Gpu
from export.runtime.gpu import bound
from export.tensorrt import order

from .fake_device import FakeCuda, FakeDevice
from .fake_tensorrt import make_library

GPU = Gpu("Fake 4090", "sm89", "13.0")
VERSIONS = {"tensorrt": "10.14.1.48", "tensorrt-rtx": "1.7.1.116"}


def install(
    monkeypatch: pytest.MonkeyPatch,
    backend: str,
    gpu: Gpu | None = GPU,
    version: str | None = None,
    drift: float = 0.0,
    device: FakeDevice | None = None,
) -> FakeDevice:
    """Make this machine one with that library and GPU, for the test; its device."""
    device = device or FakeDevice()
    name = LIBRARIES[backend].module
    library = make_library(name, version or VERSIONS[backend], device if gpu else None, drift)
    monkeypatch.setitem(sys.modules, name, library)
    pretend(monkeypatch, gpu)
    monkeypatch.setattr(tensorrt, "CupyDevice", lambda: device)
    return device


def install_cuda(monkeypatch: pytest.MonkeyPatch, captures: bool = True) -> FakeCuda:
    """Make this machine one with ONNX Runtime's CUDA provider, which can or cannot make graphs of what it is given."""
    fake = FakeCuda(captures)
    pretend(monkeypatch, GPU)
    providers = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(ort, "get_available_providers", lambda: providers)
    monkeypatch.setattr(bound, "open_session", fake.open)
    monkeypatch.setattr(cuda, "CupyDevice", fake.device)
    return fake


def pretend(monkeypatch: pytest.MonkeyPatch, gpu: Gpu | None) -> None:
    """Let this machine have that GPU, as far as anybody asks for it, and CuPy."""
    for module in (machine, order):
        monkeypatch.setattr(module, "find_gpu", lambda: gpu or "no NVIDIA driver")
    monkeypatch.setattr(machine, "CUPY", "json")  # any module that is there

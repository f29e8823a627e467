"""The fake TensorRT has no name that the real API lacks: TensorRT-RTX, which is installed, is held beside it.

TensorRT itself cannot be installed here. Its documented API has the same names but for those of `AHEAD_ONLY`, which the
fake of it lacks.
"""

from __future__ import annotations

import inspect
from types import ModuleType

import pytest
import tensorrt_rtx

from .fake_tensorrt import make_library

AHEAD_ONLY = {
    *("ComputeCapability", "EngineValidity", "EngineInvalidityDiagnostics"),
    *("DynamicShapesKernelSpecializationStrategy", "IRuntimeConfig"),
}

OURS = {"INetworkDefinition": {"graph"}, "IOptimizationProfile": {"shapes"}, "ICudaEngine": {"header", "session"}}
"""Attributes that are the fake's own."""


def classes(module: ModuleType) -> dict[str, type]:
    return {name: kind for name, kind in vars(module).items() if inspect.isclass(kind)}


@pytest.fixture(scope="module")
def fake() -> ModuleType:
    return make_library("tensorrt_rtx", tensorrt_rtx.__version__, None)


def test_every_class_and_method_is_real(fake: ModuleType) -> None:
    for name, kind in classes(fake).items():
        real = getattr(tensorrt_rtx, name)
        missing = {attribute for attribute in vars(kind) if not attribute.startswith("_")} - set(dir(real))
        assert missing <= OURS.get(name, set()), f"tensorrt_rtx.{name} has no {sorted(missing)}"


def test_every_flag_has_the_real_value(fake: ModuleType) -> None:
    for name, kind in classes(fake).items():
        if name == "DataType" or not hasattr(kind, "__members__"):
            continue
        real = getattr(tensorrt_rtx, name)
        for member, value in kind.__members__.items():
            assert int(value) == int(getattr(real, member)), f"{name}.{member}"


def test_types_mean_the_same(fake: ModuleType) -> None:
    for member in fake.DataType.__members__:
        kind = getattr(tensorrt_rtx.DataType, member)
        assert fake.nptype(fake.DataType[member]) == tensorrt_rtx.nptype(kind)


def test_tensorrt_itself_lacks_what_only_rtx_has() -> None:
    full = make_library("tensorrt", "10.14.1.48", None)
    rtx = make_library("tensorrt_rtx", "1.7.1.116", None)
    assert set(classes(rtx)) - set(classes(full)) == AHEAD_ONLY
    assert not hasattr(full.Runtime, "get_engine_validity")
    assert not hasattr(full.IBuilderConfig, "set_compute_capability")

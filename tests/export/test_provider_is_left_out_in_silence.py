"""ONNX Runtime runs a graph on the provider that was asked for, or says that it cannot: never quietly on the CPU."""

from __future__ import annotations

from collections.abc import Callable

import onnxruntime as ort
import pytest

from export.runtime.bundle import Bundle
from export.runtime.engines import cuda, machine, open_engine
from export.runtime.engines.choice import PROVIDERS
from export.runtime.engines.onnxruntime import MAX_ROWS, compiling_options
from export.runtime.engines.session import open_session
from export.runtime.flags import CPU, CUDA, TENSORRT_PROVIDER

from .fake_device import FakeDevice
from .gpu import GPU

ALL = list(PROVIDERS.values())


@pytest.fixture
def promising(monkeypatch: pytest.MonkeyPatch) -> None:
    """An ONNX Runtime that says it has every provider and can start none but the CPU's, beside a GPU."""
    monkeypatch.setattr(ort, "get_available_providers", lambda: ALL)
    monkeypatch.setattr(machine, "find_gpu", lambda: GPU)
    monkeypatch.setattr(machine, "has_cupy", lambda: True)
    monkeypatch.setattr(cuda, "CupyDevice", FakeDevice)


def test_one_that_is_not_installed_is_refused(make_jump: Callable) -> None:
    with pytest.raises(ValueError, match=r"it: ONNX Runtime \S+ as installed has no CUDAExecutionProvider"):
        open_session(make_jump().SerializeToString(), "it", 1, PROVIDERS[CUDA])


@pytest.mark.parametrize("name", [CUDA, TENSORRT_PROVIDER])
@pytest.mark.filterwarnings("ignore:Specified provider")
def test_one_that_does_not_start_is_refused(make_bundle: Callable[..., Bundle], promising: None, name: str) -> None:
    with pytest.raises(ValueError, match=f"cannot start {PROVIDERS[name]} here; are CUDA and cuDNN"):
        open_engine(make_bundle(), 1, name)


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_unasked_it_gives_way_to_the_cpu_with_a_warning(make_bundle: Callable[..., Bundle], promising: None) -> None:
    engine = open_engine(make_bundle(), 1)
    assert engine.choice.name == CPU
    assert engine.choice.warning is not None
    assert "cannot start CUDAExecutionProvider here" in engine.choice.warning


def test_the_tensorrt_provider_compiles_once_for_all_batches(make_bundle: Callable[..., Bundle]) -> None:
    scale = {"min": 1, "max": 4, "default": 1.5}
    options = compiling_options(make_bundle(guidance=scale).manifest)
    assert options["trt_profile_min_shapes"] == "z:1x3x4x4,t:1,s:1,label:1,guidance:1"
    for end in ("opt", "max"):
        assert options[f"trt_profile_{end}_shapes"] == (
            f"z:{MAX_ROWS}x3x4x4,t:{MAX_ROWS},s:{MAX_ROWS},label:{MAX_ROWS},guidance:{MAX_ROWS}"
        )
    assert not any("cache" in name for name in options)  # no engine is loaded that no manifest vouches for

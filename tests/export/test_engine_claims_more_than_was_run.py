"""A manifest says of an engine what was done with it here, and no more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

import longjump
from export.runtime.bundle import Bundle, open_bundle
from export.runtime.engines import open_engine
from export.runtime.engines.libraries import LIBRARIES, load_library
from export.runtime.engines.machine import Gpu
from export.runtime.engines.tensorrt import Range, TensorRtEngine, profile_for
from export.runtime.engines.trial import zeros
from export.tensorrt.add import add_engines
from export.tensorrt.cache import EngineCache
from export.tensorrt.compile import READ_WITHOUT_GPU, batch_ranges
from export.tensorrt.order import Order

from .fake_device import FakeDevice
from .gpu import GPU, install

RTX = LIBRARIES["tensorrt-rtx"]
AMPERE = Gpu("A100", "sm80", "13.0")


def added(bundle: Bundle, gpu: Gpu | None, device: FakeDevice | None = None) -> tuple[Bundle, list[str]]:
    """The bundle with an engine for sm89, made on a machine with that GPU; what was said."""
    said: list[str] = []
    order = Order(RTX, load_library(RTX), ("sm89",), gpu, batch_ranges(4))
    return add_engines(bundle, order, said.append, EngineCache(None), device), said


def test_without_a_gpu_it_is_built(make_bundle: Callable[..., Bundle], monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, "tensorrt-rtx", gpu=None)
    bundle, said = added(make_bundle(), None)
    entry = bundle.manifest.engines[-1]
    assert (entry.state, entry.checked) == ("built", READ_WITHOUT_GPU)
    assert said[-1].endswith(f"built ({READ_WITHOUT_GPU}), never executed")


def test_beside_another_gpu_it_is_built(make_bundle: Callable[..., Bundle], monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, "tensorrt-rtx", gpu=AMPERE)
    bundle, said = added(make_bundle(), AMPERE)
    assert bundle.manifest.engines[-1].state == "built"
    assert said[-1].endswith("built (not read back: the GPU here is sm80), never executed")


def test_on_its_gpu_it_is_executed_and_compared(
    make_bundle: Callable[..., Bundle], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    device = install(monkeypatch, "tensorrt-rtx", drift=0.004)
    bundle, said = added(make_bundle(), GPU, device)
    assert device.order == [*4 * ["run"], "upload", "graph", "download"]  # each bucket's graph is recorded first
    assert said[-1].endswith("executed on Fake 4090 (sm89, CUDA 13.0); 0.004 from fp32 on the CPU")
    assert longjump.main(["inspect", str(bundle.path)]) == 0
    assert "batch 1 to 4: executed on Fake 4090 (sm89, CUDA 13.0)" in capsys.readouterr().out


def test_without_cupy_it_is_read_back(make_bundle: Callable[..., Bundle], monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiled and loaded by the library, on its GPU; but nothing is there to run it with."""
    device = install(monkeypatch, "tensorrt-rtx")
    order = Order(RTX, load_library(RTX), ("sm89",), GPU, batch_ranges(4), cupy=False)
    bundle = add_engines(make_bundle(), order, lambda line: None, EngineCache(None), device)
    assert bundle.manifest.engines[-1].standing == "read back, never executed"
    assert device.order == []


def test_one_that_computes_something_else_is_not_written(
    make_bundle: Callable[..., Bundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    device, bundle = install(monkeypatch, "tensorrt-rtx", drift=0.2), make_bundle()
    with pytest.raises(ValueError, match=r"differs from ONNX Runtime by 0\.2 on Fake 4090; it is not usable"):
        added(bundle, GPU, device)
    assert open_bundle(bundle.path).manifest == bundle.manifest


@pytest.mark.parametrize("backend", LIBRARIES)
def test_float32_is_not_computed_in_tf32(
    backend: str, make_bundle: Callable[..., Bundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both libraries would, where nobody forbids it: ten bits of the products in place of twenty-three."""
    install(monkeypatch, backend)
    library = LIBRARIES[backend]
    order = Order(library, load_library(library), ("current",), GPU, batch_ranges(4))
    bundle = add_engines(make_bundle(), order, lambda line: None, EngineCache(None))
    assert b'"tf32": false' in bundle.read(bundle.manifest.engines[-1].file)


def test_copies_and_network_run_in_order_on_one_stream(
    make_bundle: Callable[..., Bundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six rows, of which the engine takes four at once: two turns, the second queued before the first is done."""
    device = install(monkeypatch, "tensorrt-rtx")
    bundle, _ = added(make_bundle(), GPU, device)
    engine = open_engine(bundle, 1)
    assert isinstance(engine, TensorRtEngine)
    device.order.clear()
    assert len(engine.jump(*zeros(bundle.manifest, 6))) == 6
    assert device.order == 2 * ["upload", "graph", "download"]


def test_what_cannot_be_captured_runs_without_a_graph(
    make_bundle: Callable[..., Bundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    device = install(monkeypatch, "tensorrt-rtx")
    bundle, _ = added(make_bundle(), GPU, device)
    load_library(RTX).capturable = False
    engine = open_engine(bundle, 1)
    device.order.clear()
    engine.jump(*zeros(bundle.manifest, 2))
    assert device.order == ["upload", "run", "download"]


def test_kernels_do_not_change_while_it_serves(
    make_bundle: Callable[..., Bundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    """TensorRT-RTX by itself compiles others for each batch while it serves, and a picture's bits would change."""
    device = install(monkeypatch, "tensorrt-rtx")
    bundle, _ = added(make_bundle(), GPU, device)
    module = load_library(RTX)
    module.contexts.clear()
    open_engine(bundle, 1)
    strategies = [settings.dynamic_shapes_kernel_specialization_strategy for settings in module.contexts]
    assert strategies == 4 * [module.DynamicShapesKernelSpecializationStrategy.NONE]


def test_each_batch_runs_in_the_profile_made_for_it() -> None:
    ranges = batch_ranges(64)
    assert [profile_for(ranges, rows) for rows in (1, 2, 8, 9, 32, 33, 64)] == [0, 1, 1, 2, 2, 3, 3]
    with pytest.raises(ValueError, match="no profile takes 65 rows; there are 1 to 1, 2 to 8, 9 to 32, 33 to 64"):
        profile_for(ranges, 65)
    with pytest.raises(ValueError, match="no profile takes 3 rows"):
        profile_for((Range(1, 1, 2),), 3)


def test_a_gpu_without_memory_for_it_is_said(
    make_bundle: Callable[..., Bundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    device = install(monkeypatch, "tensorrt-rtx")
    bundle, _ = added(make_bundle(), GPU, device)
    module = load_library(RTX)
    monkeypatch.setattr(module.ICudaEngine, "create_execution_context", lambda *given: None)
    engine = open_engine(bundle, 1)
    assert engine.choice.warning is not None
    assert "the GPU has too little memory for it" in engine.choice.warning
    assert np.isfinite(engine.jump(*zeros(bundle.manifest, 1))).all()


def test_a_driver_that_fails_is_said(make_bundle: Callable[..., Bundle], monkeypatch: pytest.MonkeyPatch) -> None:
    device = install(monkeypatch, "tensorrt-rtx")
    bundle, _ = added(make_bundle(), GPU, device)

    def fail(size: int) -> None:
        raise MemoryError("cudaErrorMemoryAllocation:\n out of memory")

    monkeypatch.setattr(device, "allocate", fail)
    engine = open_engine(bundle, 1)
    assert engine.choice.warning is not None
    assert "MemoryError: cudaErrorMemoryAllocation: out of memory. onnxruntime-cpu runs" in engine.choice.warning


def test_both_precisions_are_compiled_where_there_are_both(
    make_bundle: Callable[..., Bundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, "tensorrt-rtx", gpu=None)
    order = Order(RTX, load_library(RTX), ("sm89",), None, batch_ranges(2))
    bundle = make_bundle()
    made = add_engines(bundle, order, lambda line: None, EngineCache(None)).manifest.engines
    assert [entry.precision for entry in made] == ["fp32", "fp32"]  # the graph and its engine
    with pytest.raises(ValueError, match="has no graph in fp16 to compile"):
        add_engines(bundle, replace(order, precisions=("fp16",)), lambda line: None, EngineCache(None))

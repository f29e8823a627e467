"""The engine that runs is the best that can, or the one asked for; otherwise the reason is said."""

from __future__ import annotations

import pytest

from export.runtime.engines.choice import PROVIDERS, RANK, choose
from export.runtime.engines.libraries import LIBRARIES
from export.runtime.engines.machine import Gpu, Machine
from export.runtime.flags import CPU, CUDA, ENGINES, TENSORRT_PROVIDER
from export.runtime.manifest import EngineEntry

GRAPH = {"builder": "torch", "target": "any", "state": "executed", "executed_on": "a CPU"}
RTX = "tensorrt-rtx 1.7.1.116"


def graph(precision: str = "fp32") -> EngineEntry:
    return EngineEntry(backend="onnxruntime", file=f"jump.{precision}.onnx", precision=precision, **GRAPH)


def compiled(target: str, precision: str = "fp32", backend: str = "tensorrt-rtx", builder: str = RTX) -> EngineEntry:
    file = f"jump.{precision}.{backend}.{target.replace(',', '-')}.engine"
    return EngineEntry(backend=backend, file=file, precision=precision, target=target, builder=builder, state="built")


ALL = [
    graph(),
    graph("fp16"),
    graph("int8"),
    compiled("sm80,sm89"),
    compiled("sm80,sm89", "fp16"),
    compiled("sm90", "fp16"),
    compiled("sm89", "fp16", "tensorrt", "tensorrt 10.14.1.48"),
]
NO_GPU = Machine((PROVIDERS[CPU],), no_gpu="no NVIDIA driver")
ADA = Gpu("RTX 4090", "sm89", "13.0")
GPU = Machine((PROVIDERS[CUDA], PROVIDERS[CPU]), ADA, "", {"tensorrt-rtx": RTX}, cupy=True)
FULL = Machine(GPU.providers, ADA, "", {"tensorrt-rtx": RTX, "tensorrt": "tensorrt 10.14.1.48"}, cupy=True)


def test_every_name_has_a_rank_and_a_kind() -> None:
    assert tuple(RANK) == ENGINES
    assert set(ENGINES) == set(LIBRARIES) | set(PROVIDERS)


@pytest.mark.parametrize(
    ("machine", "name", "file"),
    [
        (NO_GPU, CPU, "jump.fp32.onnx"),
        (GPU, "tensorrt-rtx", "jump.fp16.tensorrt-rtx.sm80-sm89.engine"),
        (FULL, "tensorrt", "jump.fp16.tensorrt.sm89.engine"),
        (Machine(GPU.providers, ADA, cupy=True), CUDA, "jump.fp16.onnx"),  # no library
        (Machine(GPU.providers, ADA), CPU, "jump.fp32.onnx"),  # no CuPy
        (Machine((PROVIDERS[CPU],), ADA, "", {"tensorrt-rtx": RTX}), CPU, "jump.fp32.onnx"),  # no CuPy
        (Machine((PROVIDERS[CUDA], PROVIDERS[CPU]), no_gpu="none"), CPU, "jump.fp32.onnx"),
        (Machine((PROVIDERS[TENSORRT_PROVIDER], PROVIDERS[CPU]), ADA), CPU, "jump.fp32.onnx"),
    ],
)
def test_the_best_that_can_run_is_picked(machine: Machine, name: str, file: str) -> None:
    choice = choose(ALL, machine)
    assert (choice.name, choice.entry.file) == (name, file)
    assert choice.reason.startswith("the best that can run here")
    # The order in which a manifest lists them does not matter.
    assert choose(ALL[::-1], machine).entry == choice.entry


@pytest.mark.parametrize(
    ("engine", "precision", "name", "file"),
    [
        (CPU, None, CPU, "jump.fp32.onnx"),
        (CPU, "int8", CPU, "jump.int8.onnx"),
        (CUDA, "fp32", CUDA, "jump.fp32.onnx"),
        ("tensorrt-rtx", "fp32", "tensorrt-rtx", "jump.fp32.tensorrt-rtx.sm80-sm89.engine"),
        (None, "fp32", "tensorrt-rtx", "jump.fp32.tensorrt-rtx.sm80-sm89.engine"),
        (None, "int8", CUDA, "jump.int8.onnx"),
    ],
)
def test_what_is_asked_for_is_picked(engine: str | None, precision: str | None, name: str, file: str) -> None:
    choice = choose(ALL, GPU, engine, precision)
    assert (choice.name, choice.entry.file) == (name, file)
    assert "asked for" in choice.reason


def test_a_gpu_that_lies_idle_for_want_of_a_package_is_said() -> None:
    warning = choose([graph()], Machine(GPU.providers, ADA)).warning
    assert warning is not None
    assert "onnxruntime-cuda (jump.fp32.onnx): the Python package 'cupy' is not installed (pip install" in warning


def test_the_provider_that_compiles_at_every_start_is_never_picked_unasked() -> None:
    machine = Machine(tuple(PROVIDERS.values()), ADA, cupy=True)
    assert choose([graph()], machine).name == CUDA
    assert choose([graph()], machine, TENSORRT_PROVIDER).name == TENSORRT_PROVIDER
    assert choose(ALL, machine, precision="int8").name == CUDA


@pytest.mark.parametrize(
    ("entries", "machine", "engine", "precision", "reason"),
    [
        (ALL, NO_GPU, "tensorrt-rtx", None, "--engine tensorrt-rtx: .*no GPU: no NVIDIA driver"),
        (ALL, GPU, "tensorrt", None, r"--engine tensorrt: .*'tensorrt' is not installed"),
        (ALL, NO_GPU, CUDA, None, "the installed ONNX Runtime has no CUDAExecutionProvider .*longjump"),
        ([graph()], GPU, "tensorrt-rtx", None, "has no such engine, it has onnxruntime fp32; longjump export BUNDLE"),
        ([graph()], NO_GPU, None, "fp16", "--precision fp16: the bundle has no such engine, it has onnxruntime fp32"),
        ([compiled("sm90")], GPU, None, None, "no engine .* can run here: .*compiled for sm90; .*RTX 4090, is sm89"),
        (
            [compiled("sm89", builder="tensorrt-rtx 1.6")],
            GPU,
            None,
            None,
            "by tensorrt-rtx 1.6, here is .*1.7",
        ),
        (ALL, GPU, "tensor", None, "no such engine; there are tensorrt, tensorrt-rtx, onnxruntime-cuda"),
    ],
)
def test_one_that_cannot_run_is_an_error_with_the_reason(
    entries: list[EngineEntry], machine: Machine, engine: str | None, precision: str | None, reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        choose(entries, machine, engine, precision)


def test_the_reason_tells_what_was_passed_over() -> None:
    reason = choose(ALL, NO_GPU).reason
    assert "not tensorrt-rtx (jump.fp16.tensorrt-rtx.sm80-sm89.engine, jump.fp16.tensorrt-rtx.sm90.engine, " in reason
    assert "no GPU: no NVIDIA driver" in reason
    assert "not onnxruntime-cuda" in reason


def test_engines_that_do_not_run_are_worth_one_warning() -> None:
    warning = choose(ALL, NO_GPU).warning
    assert warning is not None
    assert "\n" not in warning
    assert warning.endswith("no GPU: no NVIDIA driver. onnxruntime-cpu runs jump.fp32.onnx instead")
    assert "onnxruntime-cuda" not in warning  # nobody made the bundle for that


@pytest.mark.parametrize(
    ("entries", "machine", "engine"),
    [
        ([graph()], NO_GPU, None),
        (ALL, GPU, None),  # sm90's is for another machine, and one runs
        (ALL, NO_GPU, CPU),  # asked for
    ],
)
def test_nothing_is_said_where_all_is_well(entries: list[EngineEntry], machine: Machine, engine: str | None) -> None:
    assert choose(entries, machine, engine).warning is None


def test_one_that_failed_gives_way_to_the_next_with_a_warning() -> None:
    best = choose(ALL, GPU)
    failed = {(best.name, best.entry.file): "it does not load"}
    following = choose(ALL, GPU, failed=failed)
    assert following.entry.file == "jump.fp32.tensorrt-rtx.sm80-sm89.engine"
    assert following.warning == (
        f"tensorrt-rtx ({best.entry.file}): it does not load. tensorrt-rtx runs {following.entry.file} instead"
    )
    failed[following.name, following.entry.file] = "it does not load"
    assert choose(ALL, GPU, failed=failed).name == CUDA

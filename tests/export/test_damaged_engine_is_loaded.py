"""An engine that is not as the manifest says, or does not fit, is never loaded: it is said once, and the graph runs."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import longjump
from export.runtime.bundle import Bundle, open_bundle, write_bundle
from export.runtime.engines import open_engine, tensorrt
from export.runtime.engines.libraries import LIBRARIES, load_library
from export.runtime.engines.machine import Gpu
from export.runtime.engines.trial import zeros
from export.runtime.flags import CPU
from export.tensorrt.add import add_engines
from export.tensorrt.cache import EngineCache
from export.tensorrt.compile import batch_ranges, compile_engine
from export.tensorrt.order import Order

from .gpu import GPU, install, pretend

RTX = LIBRARIES["tensorrt-rtx"]


@pytest.fixture(params=LIBRARIES)
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def bundle(make_bundle: Callable[..., Bundle], backend: str, monkeypatch: pytest.MonkeyPatch) -> Bundle:
    """A bundle with an engine for the GPU that this machine pretends to have."""
    install(monkeypatch, backend)
    return compiled(make_bundle("toy"), backend)


def compiled(bundle: Bundle, backend: str) -> Bundle:
    library = LIBRARIES[backend]
    order = Order(library, load_library(library), ("current",), GPU, batch_ranges(4))
    return add_engines(bundle, order, lambda line: None, EngineCache(None))


def engine_file(bundle: Bundle) -> Path:
    return bundle.path / bundle.manifest.engines[-1].file


def takes_over(folder: Path, why: str) -> None:
    """ONNX Runtime runs the bundle, with one warning that says why; forcing the engine is an error that says it too."""
    bundle = open_bundle(folder, engines=False)
    backend = bundle.manifest.engines[-1].backend
    engine = open_engine(bundle, 1)
    assert engine.choice.name == CPU
    assert engine.choice.warning is not None
    assert why in engine.choice.warning
    assert engine.choice.warning.count(bundle.manifest.engines[-1].file) >= 1
    assert "\n" not in engine.choice.warning
    assert np.isfinite(engine.jump(*zeros(engine.manifest, 2))).all()
    with pytest.raises((ValueError, OSError), match=re.escape(why)):
        open_engine(bundle, 1, backend)


def test_control_a_good_one_runs(bundle: Bundle, backend: str) -> None:
    engine = open_engine(open_bundle(bundle.path, engines=False), 1)
    assert (engine.choice.name, engine.choice.warning) == (backend, None)


@pytest.mark.parametrize("damage", ["truncated", "altered", "gone", "empty"])
def test_a_damaged_file_is_not_loaded(bundle: Bundle, damage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    file = engine_file(bundle)
    data = file.read_bytes()
    file.unlink()
    if damage != "gone":
        changed = {"truncated": data[:-9], "altered": data[:-1] + bytes([data[-1] ^ 1]), "empty": b""}
        file.write_bytes(changed[damage])
    monkeypatch.setattr(tensorrt, "deserialise", lambda *args: pytest.fail("it was loaded"))
    takes_over(
        bundle.path,
        {
            "truncated": f"has {len(data) - 9} bytes, the manifest says {len(data)}",
            "altered": "does not match the SHA-256 in the manifest",
            "gone": "is missing, though the manifest lists it",
            "empty": "has 0 bytes",
        }[damage],
    )


def test_whoever_checks_a_whole_bundle_sees_the_damage(bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    file = engine_file(bundle)
    file.write_bytes(file.read_bytes()[:-9])
    assert longjump.main(["inspect", str(bundle.path)]) == 2
    assert file.name in capsys.readouterr().err


def test_the_command_line_says_it_once(bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    engine_file(bundle).write_bytes(b"")
    call = ["generate", str(bundle.path), "--seed", "1", "--threads", "1", "-o", str(tmp_path / "it.png")]
    assert longjump.main(call) == 0
    assert capsys.readouterr().err.count("warning: ") == 1
    assert longjump.main([*call, "--engine", bundle.manifest.engines[-1].backend]) == 2
    printed = capsys.readouterr()
    assert "has 0 bytes" in printed.err
    assert printed.err.count("\n") == 1


def test_an_engine_of_another_version_is_not_loaded(
    bundle: Bundle, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, backend, version="11.0.0")
    takes_over(bundle.path, f"compiled by {bundle.manifest.engines[-1].builder}, here is {backend} 11.0.0")


def test_a_version_that_only_the_engine_tells_is_refused(
    bundle: Bundle, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The manifest was made to say what is installed; the engine itself was built by another."""
    reseal(bundle, builder=f"{backend} 11.0.0")
    install(monkeypatch, backend, version="11.0.0")
    takes_over(bundle.path, "built by another version" if backend == "tensorrt-rtx" else "built by version 10.14.1.48")


def test_an_engine_for_another_gpu_is_not_loaded(bundle: Bundle, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, backend, Gpu("A100", "sm80", "13.0"))
    takes_over(bundle.path, "it was compiled for sm89; the GPU here, A100, is sm80")


def test_an_engine_of_another_graph_is_not_loaded(bundle: Bundle) -> None:
    reseal(bundle, graph="0" * 64)
    takes_over(bundle.path, "was not compiled from this bundle's jump.fp32.onnx; compile it again")


def test_an_engine_with_other_tensors_is_not_used(bundle: Bundle, backend: str, make_jump: Callable) -> None:
    """A file that matches the manifest and is an engine, of a network with guidance."""
    library = LIBRARIES[backend]
    graph = make_jump(guidance=True).SerializeToString()
    plan = compile_engine(library, load_library(library), graph, "it", ("current",), batch_ranges(4))
    reseal(bundle, contents={engine_file(bundle).name: plan})
    takes_over(bundle.path, "has the tensors z float32[3, 4, 4], t float32[], s float32[], label int64[], guidance")


@pytest.mark.parametrize("drift", [0.2, float("nan")])
def test_one_that_computes_something_else_is_not_believed(
    bundle: Bundle, backend: str, drift: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never executed before: it is compared with ONNX Runtime where it first runs."""
    reseal(bundle, state="built", executed_on=None)
    assert open_engine(open_bundle(bundle.path), 1).choice.name == backend
    install(monkeypatch, backend, drift=drift)
    takes_over(bundle.path, "was never executed before, and here it differs from ONNX Runtime by")


def test_a_machine_without_a_gpu_says_so(bundle: Bundle, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, backend, gpu=None)
    takes_over(bundle.path, "no GPU: no NVIDIA driver")


def test_a_real_engine_that_does_not_load_gives_way(
    make_bundle: Callable[..., Bundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    """TensorRT-RTX itself, on a machine that says it has a GPU and has none."""
    library = load_library(RTX)
    order = Order(RTX, library, ("sm89",), None, batch_ranges(1))
    bundle = add_engines(make_bundle(), order, lambda line: None, EngineCache(None))
    pretend(monkeypatch, GPU)
    monkeypatch.setattr(tensorrt, "CupyDevice", object)
    takes_over(bundle.path, "cudaError")


def reseal(bundle: Bundle, contents: dict[str, bytes] | None = None, **changes: object) -> None:
    """Write the bundle again, its last engine's entry changed, with right hashes."""
    fields = bundle.manifest.model_dump(exclude={"files", "digest"})
    fields["engines"][-1] |= changes
    files = {file: bundle.read(file) for file in bundle.manifest.files}
    write_bundle(bundle.path, fields, {**files, **(contents or {})}, replace=True)

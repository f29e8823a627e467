"""An engine is kept by all that it follows from: compiled once, never taken for another or from a damaged file."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from export.runtime.bundle import Bundle, open_bundle
from export.runtime.engines.libraries import LIBRARIES
from export.runtime.engines.machine import Gpu
from export.tensorrt import add
from export.tensorrt.add import add_engines, make_engine
from export.tensorrt.cache import EngineCache, default_folder
from export.tensorrt.compile import batch_ranges, compile_engine
from export.tensorrt.order import Order

from .fake_device import FakeDevice
from .fake_tensorrt import make_library
from .gpu import GPU

RTX = LIBRARIES["tensorrt-rtx"]
LIBRARY = make_library("tensorrt_rtx", "1.7.1.116", None)
ORDER = Order(RTX, LIBRARY, ("sm80", "sm89"), None, batch_ranges(4))


@pytest.fixture
def compilations(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The graphs that are compiled, as it happens."""
    seen: list[str] = []

    def watched(*arguments: Any) -> bytes:
        seen.append(arguments[3])
        return compile_engine(*arguments)

    monkeypatch.setattr(add, "compile_engine", watched)
    return seen


def make(bundle: Bundle, order: Order, cache: EngineCache) -> bytes:
    return make_engine(bundle, "fp32", order, cache, lambda line: None)[1]


def test_it_is_compiled_once(make_bundle: Callable[..., Bundle], tmp_path: Path, compilations: list[str]) -> None:
    cache = EngineCache(tmp_path / "cache")
    plans = {make(make_bundle(name), ORDER, cache) for name in ("one", "two")}
    assert len(plans) == 1
    assert compilations == ["jump.fp32.onnx"]
    assert make(open_bundle(tmp_path / "one"), ORDER, EngineCache(None)) in plans  # without a cache: again
    assert len(compilations) == 2


@pytest.mark.parametrize(
    "other",
    [
        replace(ORDER, targets=("sm80",)),
        replace(ORDER, ranges=batch_ranges(5)),
        replace(ORDER, module=make_library("tensorrt_rtx", "1.8.0.1", None)),
        replace(ORDER, library=LIBRARIES["tensorrt"], module=make_library("tensorrt", "1.7.1.116", FakeDevice())),
    ],
    ids=["targets", "batches", "version", "library"],
)
def test_another_order_is_another_engine(
    make_bundle: Callable[..., Bundle], tmp_path: Path, compilations: list[str], other: Order
) -> None:
    bundle, cache = make_bundle(), EngineCache(tmp_path / "cache")
    make(bundle, ORDER, cache)
    make(bundle, other, cache)
    assert len(compilations) == 2


def test_another_graph_is_another_engine(
    make_bundle: Callable[..., Bundle], tmp_path: Path, compilations: list[str]
) -> None:
    cache = EngineCache(tmp_path / "cache")
    for name, shape in (("square", (3, 4, 4)), ("flat", (3, 2, 8))):
        make(make_bundle(name, z_shape=shape), ORDER, cache)
    assert len(compilations) == 2


def test_the_gpu_counts_where_it_is_tuned_for(
    make_bundle: Callable[..., Bundle], tmp_path: Path, compilations: list[str]
) -> None:
    bundle, cache = make_bundle(), EngineCache(tmp_path / "cache")
    module = make_library("tensorrt_rtx", "1.7.1.116", FakeDevice())
    here = replace(ORDER, module=module, targets=("current",), gpu=GPU)
    make(bundle, here, cache)
    make(bundle, replace(here, gpu=Gpu("another of its kind", GPU.target, GPU.driver)), cache)
    assert len(compilations) == 2


@pytest.mark.parametrize("end", [".engine", ".sha256"])
@pytest.mark.parametrize("damage", ["altered", "cut", "gone"])
def test_a_damaged_file_is_as_good_as_none(
    make_bundle: Callable[..., Bundle], tmp_path: Path, compilations: list[str], end: str, damage: str
) -> None:
    bundle, cache = make_bundle(), EngineCache(tmp_path / "cache")
    plan = make(bundle, ORDER, cache)
    (file,) = (tmp_path / "cache").glob(f"*{end}")
    data = file.read_bytes()
    file.unlink()
    if damage != "gone":
        file.write_bytes(data[:-1] if damage == "cut" else bytes([data[0] ^ 1]) + data[1:])
    assert make(bundle, ORDER, cache) == plan
    assert len(compilations) == 2
    assert make(bundle, ORDER, cache) == plan  # mended
    assert len(compilations) == 2


def test_a_folder_that_cannot_be_written_stops_nothing(make_bundle: Callable[..., Bundle], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert make(make_bundle(), ORDER, EngineCache(tmp_path / "file" / "cache"))


def test_the_oldest_go_when_there_are_too_many(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path, limit=100)
    for name in ("a", "b"):
        cache.store(name, name.encode() * 40)
    for age, name in enumerate(("b", "a")):  # b is the older one
        file = tmp_path / f"{name}.engine"
        os.utime(file, (1000 + age, 1000 + age))
    cache.store("c", b"c" * 40)
    assert cache.load("b") is None
    assert cache.load("a") == b"a" * 40
    assert cache.load("c") == b"c" * 40
    cache.store("d", b"d" * 101)  # too large by itself: it pushes nobody out
    assert {file.name for file in tmp_path.iterdir()} == {"a.engine", "a.sha256", "c.engine", "c.sha256"}


def test_the_folder_is_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONGJUMP_ENGINE_CACHE", "/somewhere")
    assert default_folder() == Path("/somewhere")
    monkeypatch.setenv("LONGJUMP_ENGINE_CACHE", "")
    assert default_folder() is None
    monkeypatch.delenv("LONGJUMP_ENGINE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert default_folder() == Path("/caches/longjump/engines")


def test_an_engine_made_again_takes_the_place_of_the_old_one(make_bundle: Callable[..., Bundle]) -> None:
    bundle = make_bundle()
    said: list[str] = []
    for version in ("1.7.1.116", "1.8.0.1"):
        order = replace(ORDER, module=make_library("tensorrt_rtx", version, None))
        bundle = add_engines(bundle, order, said.append, EngineCache(None))
    entries = [entry for entry in bundle.manifest.engines if entry.backend == "tensorrt-rtx"]
    assert [entry.builder for entry in entries] == ["tensorrt-rtx 1.8.0.1"]
    assert len([file for file in bundle.path.iterdir() if file.suffix == ".engine"]) == 1
    assert said[-1].endswith("built (header, version and length read back; the rest needs a GPU), never executed")
    assert open_bundle(bundle.path).manifest == bundle.manifest


def test_a_bundle_is_untouched_by_an_engine_that_cannot_be_made(make_bundle: Callable[..., Bundle]) -> None:
    bundle = make_bundle()
    before = {file.name: file.read_bytes() for file in bundle.path.iterdir()}
    order = replace(ORDER, targets=("current",), gpu=GPU)  # of which the library knows nothing
    with pytest.raises(ValueError, match="cannot compile it for this machine's GPU: cudaError 35"):
        add_engines(bundle, order, lambda line: None, EngineCache(None))
    assert {file.name: file.read_bytes() for file in bundle.path.iterdir()} == before
    assert [path.name for path in bundle.path.parent.iterdir()] == ["toy"]


def test_what_was_damaged_meanwhile_gets_no_new_hash(make_bundle: Callable[..., Bundle]) -> None:
    bundle = make_bundle()
    (bundle.path / "README.md").write_bytes(b"# A tox\n")
    with pytest.raises(ValueError, match=r"README\.md does not match the SHA-256"):
        add_engines(bundle, ORDER, lambda line: None, EngineCache(None))

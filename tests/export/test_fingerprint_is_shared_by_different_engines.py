"""The fingerprint changes with everything that the bytes of an image depend on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import export.runtime.engines.onnxruntime as engine_module
from export.runtime.engines import open_engine
from export.runtime.engines.onnxruntime import fingerprint, instruction_set
from export.runtime.engines.session import open_session


def test_it_is_the_same_for_the_same(make_bundle: Callable) -> None:
    bundle = make_bundle()
    one, two = open_engine(bundle, 1), open_engine(bundle, 2)
    assert one.fingerprint == two.fingerprint == fingerprint(bundle.manifest.digest)
    assert len(one.fingerprint) == 16
    assert int(one.fingerprint, 16) >= 0


def test_another_bundle_has_another(make_bundle: Callable) -> None:
    assert open_engine(make_bundle("a"), 1).fingerprint != open_engine(make_bundle("b"), 1).fingerprint


@pytest.mark.parametrize("part", ["encoder_version", "instruction_set"])
def test_another_machine_has_another(monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    before = fingerprint("sha256:0")
    monkeypatch.setattr(engine_module, part, lambda: "another")
    assert fingerprint("sha256:0") != before


def test_another_runtime_has_another(monkeypatch: pytest.MonkeyPatch) -> None:
    before = fingerprint("sha256:0")
    monkeypatch.setattr(engine_module.ort, "__version__", "9.9.9")
    assert fingerprint("sha256:0") != before


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("model name\t: X\nflags\t\t: fpu avx2 avx512f fma sse4_1 hypervisor\n", "sse4_1 fma avx2 avx512f"),
        ("processor\t: 0\nFeatures\t: fp asimd i8mm crc32 sve\n", "asimd i8mm sve"),
    ],
)
def test_the_features_are_read_from_cpuinfo(monkeypatch: pytest.MonkeyPatch, text: str, expected: str) -> None:
    monkeypatch.setattr(Path, "read_text", lambda *args, **keywords: text)
    assert instruction_set().split(" ", 1)[1] == expected


def test_a_machine_without_cpuinfo_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*args: object, **keywords: object) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", missing)
    assert instruction_set().startswith(engine_module.platform.machine())


def test_a_graph_that_the_runtime_refuses_is_named() -> None:
    with pytest.raises(ValueError, match=r"jump\.fp32\.onnx: ONNX Runtime \S+ refuses this graph"):
        open_session(b"\x08\x07", "jump.fp32.onnx")

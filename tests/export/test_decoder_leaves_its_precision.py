"""The decoder of latents runs in the precision of its bundle; what that does to pictures is measured and bounded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto
from onnx.numpy_helper import from_array, to_array

from export.assemble import extend
from export.check import graph_jump
from export.precision import forms
from export.precision.accuracy import BOUNDS, measure
from export.precision.emulate import emulate
from export.runtime.bundle import Bundle, open_bundle
from export.runtime.engines import open_engine
from export.runtime.engines.session import open_session
from export.runtime.noise import INITIAL_STEP
from export.runtime.sampler import noise_rows

FILES = ("decode.fp32.onnx", "decode.fp16.onnx")


def z_of(bundle: Bundle, rows: int) -> np.ndarray:
    return noise_rows(range(rows), INITIAL_STEP, bundle.manifest.z_shape)


def weights(bundle: Bundle, file: str) -> dict[int, int]:
    """Type -> numbers of it among a graph's weights."""
    counts: dict[int, int] = {}
    for tensor in onnx.load_from_string(bundle.read(file)).graph.initializer:
        counts[tensor.data_type] = counts.get(tensor.data_type, 0) + int(np.prod(tensor.dims))
    return counts


def test_graph_computes_in_fp16(exported_latent: Bundle) -> None:
    full, halved = (weights(exported_latent, file) for file in FILES)
    assert TensorProto.FLOAT16 not in full
    # The ends stay in float32: the first layer, and the last one before the picture.
    assert halved[TensorProto.FLOAT16] > 2 * halved[TensorProto.FLOAT]
    ends = (("image", TensorProto.UINT8), ("z", TensorProto.FLOAT))
    graph = onnx.load_from_string(exported_latent.read(FILES[1])).graph
    assert tuple((each.name, each.type.tensor_type.elem_type) for each in (graph.output[0], graph.input[0])) == ends


def test_engine_of_a_precision_decodes_in_it(exported_latent: Bundle) -> None:
    z = z_of(exported_latent, 16)
    shown = {precision: open_engine(exported_latent, 1, precision=precision) for precision in ("fp32", "fp16")}
    pictures = {precision: engine.decode(z) for precision, engine in shown.items()}
    for precision, file in zip(("fp32", "fp16"), FILES):
        (expected,) = open_session(exported_latent.read(file), file, 1).run(None, {"z": z})
        np.testing.assert_array_equal(pictures[precision], expected)
    apart = np.abs(pictures["fp16"].astype(int) - pictures["fp32"])
    assert 0 < apart.max() <= 3
    assert apart.mean() < 0.5
    # The encoder, which runs once for a variation, is there in float32 only and serves both.
    np.testing.assert_array_equal(*(engine.encode(pictures["fp32"]) for engine in shown.values()))


def test_recorded_error_is_that_of_jump_and_decoder(exported_latent: Bundle) -> None:
    manifest = open_bundle(exported_latent.path).manifest

    def part(kind: str, precision: str, rounded: bool = False):  # type: ignore[no-untyped-def]
        model = exported_latent.read(f"{kind}.{precision}.onnx")
        session = open_session(emulate(model) if rounded else model, kind)
        return graph_jump(session) if kind == "jump" else lambda z: session.run(None, {"z": z})[0]

    exact = part("jump", "fp32"), part("decode", "fp32")
    jump, decode = part("jump", "fp16", True), part("decode", "fp16", True)
    both = measure(manifest, exact, (jump, decode), emulated=True)
    found = manifest.accuracy["fp16"]
    assert (found.jump, found.ends, found.emulated) == (both.jump, both.ends, True)
    assert all(0 < end.rms <= BOUNDS["fp16"].image for end in found.ends.values())
    # The controls: neither part alone has that error, and the decoder's own counts.
    for other in ((jump, exact[1]), (exact[0], decode)):
        alone = measure(manifest, exact, other, emulated=True)
        assert alone.ends != found.ends
        assert all(end.rms > 0 for end in alone.ends.values())


def test_a_decoder_beyond_the_bound_is_refused(
    exported_latent: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The jump is right, and the decoder's fp16 form has lost its largest bias."""
    half = forms.half

    def forgetful(model: bytes, where: str) -> bytes:
        proto = onnx.load_from_string(half(model, where))
        if where == FILES[0]:
            biases = [tensor for tensor in proto.graph.initializer if ".bias" in tensor.name]
            largest = max(biases, key=lambda tensor: float(np.abs(to_array(tensor).astype(float)).sum()))
            largest.CopyFrom(from_array(np.zeros_like(to_array(largest)), largest.name))
        return bytes(proto.SerializeToString())

    monkeypatch.setattr(forms, "half", forgetful)
    with pytest.raises(ValueError, match=r"fp16 is left out and nothing written: its samples of . steps differ"):
        extend(exported_latent, tmp_path / "out", precisions=("fp16",))
    assert list(tmp_path.iterdir()) == []


def test_int8_decodes_in_fp32(exported_latent: Bundle, tmp_path: Path) -> None:
    made = extend(exported_latent, tmp_path / "out", precisions=("int8",), force_precision=True)
    assert "decode.int8.onnx" not in made.manifest.files
    z = z_of(made, 3)
    np.testing.assert_array_equal(*(open_engine(made, 1, precision=one).decode(z) for one in ("fp32", "int8")))

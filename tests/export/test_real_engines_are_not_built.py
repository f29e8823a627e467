"""TensorRT-RTX itself compiles the demo and a DiT-B/4, in fp32 and fp16, each for two GPUs, and reads the engines back
as far as a machine without a GPU can. They are not executed here.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from onnx import TensorProto, helper

import longjump
from export.graph import build_jump
from export.precision.half import half
from export.runtime.bundle import open_bundle
from export.runtime.engines import open_engine
from export.runtime.engines.libraries import LIBRARIES, load_library, stamp
from export.runtime.flags import CPU
from export.runtime.manifest import jump_file
from export.tensorrt.compile import READ_WITHOUT_GPU, batch_ranges, compile_engine, read_back
from models.build import DiTArchitecture, build

DEMO = Path(__file__).parents[2] / "server" / "demo"
RTX = LIBRARIES["tensorrt-rtx"]
TARGETS = ("sm80", "sm89")
pytestmark = pytest.mark.timeout(900)  # half a minute of compiling each, longer beside others

DIT_B4 = DiTArchitecture(patch=4, width=768, depth=12, heads=12, parametrisation="raw")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo with an engine in each precision, by the command line."""
    out = tmp_path_factory.mktemp("demo") / "facets"
    flags = ["--precision", "fp32,fp16", "--tensorrt", "--target", "sm80,sm89", "--max-batch", "8"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LONGJUMP_ENGINE_CACHE", "")
        assert longjump.main(["export", str(DEMO), "--out", str(out), *flags]) == 0
    return out


def test_the_demo_has_an_engine_in_each_precision(demo: Path) -> None:
    bundle = open_bundle(demo)
    entries = {entry.precision: entry for entry in bundle.manifest.engines if entry.backend == "tensorrt-rtx"}
    assert set(entries) == {"fp32", "fp16"}
    for precision, entry in entries.items():
        assert entry.file == f"jump.{precision}.tensorrt-rtx.sm80-sm89.engine"
        assert entry.target == "sm80,sm89"
        assert entry.batch == (1, 8)
        assert entry.profiles == [(1, 1, 1), (2, 8, 8)]
        assert entry.builder == stamp(RTX, load_library(RTX))
        assert entry.graph == hashlib.sha256(bundle.read(jump_file(precision))).hexdigest()
        assert (entry.state, entry.checked, entry.executed_on) == ("built", READ_WITHOUT_GPU, None)
    sizes = {precision: bundle.manifest.files[entry.file].bytes for precision, entry in entries.items()}
    saved = bundle.manifest.files[jump_file("fp32")].bytes - bundle.manifest.files[jump_file("fp16")].bytes
    assert sizes["fp32"] - sizes["fp16"] > 0.8 * saved  # its weights really are halves


def test_their_true_state_is_shown(demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert longjump.main(["inspect", str(demo)]) == 0
    shown = capsys.readouterr().out
    assert shown.count(f"batch 1 to 8: built ({READ_WITHOUT_GPU}), never executed") == 2
    assert "tensorrt-rtx, fp16, target sm80,sm89" in shown


def test_here_the_graph_runs_and_says_why(demo: Path) -> None:
    engine = open_engine(open_bundle(demo, engines=False), 1)
    assert engine.choice.name == CPU
    assert engine.choice.warning is not None
    assert "no GPU" in engine.choice.warning
    engine.warm()


@pytest.mark.parametrize(
    ("start", "change", "reason"),
    [
        (0, b"x", "not an engine of this library"),
        (24, b"\x01\x06", "it was built by another version"),
        (16, b"\x00", r"plan\.header\.size == blobSize"),
    ],
    ids=["magic", "version", "length"],
)
def test_reading_back_sees_what_it_says_it_sees(demo: Path, start: int, change: bytes, reason: str) -> None:
    bundle = open_bundle(demo)
    plan = bundle.read("jump.fp32.tensorrt-rtx.sm80-sm89.engine")
    module = load_library(RTX)
    assert read_back(RTX, module, plan, "it", has_gpu=False) == READ_WITHOUT_GPU
    changed = plan[:start] + change + plan[start + len(change) :]
    with pytest.raises(ValueError, match=reason):
        read_back(RTX, module, changed, "it", has_gpu=False)


def test_a_cut_engine_is_not_read_back(demo: Path) -> None:
    plan = open_bundle(demo).read("jump.fp32.tensorrt-rtx.sm80-sm89.engine")
    with pytest.raises(ValueError, match=r"plan\.header\.size == blobSize"):
        read_back(RTX, load_library(RTX), plan[:-1], "it", has_gpu=False)


@pytest.fixture(scope="module")
def dit_b4() -> bytes:
    """The graph of a DiT-B/4 on latents of 256 pixels, 130 million random weights."""
    flow_map = build(DIT_B4, (4, 32, 32), 10, "any")
    for parameter in flow_map.parameters():  # zeros would be folded away
        torch.nn.init.normal_(parameter, std=0.02)
    return build_jump(flow_map, (4, 32, 32), 10)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_dit_b4_compiles_in_each_precision(dit_b4: bytes, precision: str) -> None:
    graph = dit_b4 if precision == "fp32" else half(dit_b4)
    module = load_library(RTX)
    plan = compile_engine(RTX, module, graph, precision, TARGETS, batch_ranges(8))
    assert read_back(RTX, module, plan, precision, has_gpu=False) == READ_WITHOUT_GPU
    assert len(plan) > 130e6 * (4 if precision == "fp32" else 2)


def test_a_graph_that_the_library_refuses_is_named() -> None:
    with pytest.raises(ValueError, match=r"jump: tensorrt-rtx \S+ does not take this graph: "):
        compile_engine(RTX, load_library(RTX), b"\xff\xff", "jump", TARGETS, batch_ranges(1))


@pytest.mark.parametrize(("kind", "compiles"), [(TensorProto.FLOAT, False), (TensorProto.FLOAT16, True)])
def test_attention_in_one_piece_compiles_in_fp16_only(kind: int, compiles: bool) -> None:
    """Opset 23 has it. It is why graphs are written in opset 20, where attention is products and a softmax."""
    values = [helper.make_tensor_value_info(name, kind, ["batch", 2, 16, 32]) for name in "qkvo"]
    node = helper.make_node("Attention", ["q", "k", "v"], ["o"])
    graph = helper.make_graph([node], "attention", values[:3], values[3:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=11).SerializeToString()
    module, ranges = load_library(RTX), batch_ranges(1)
    if compiles:
        assert compile_engine(RTX, module, model, "it", TARGETS, ranges)
        return
    with pytest.raises(ValueError, match=r"it: tensorrt-rtx .* cannot compile it for sm80, sm89: .*Attention"):
        compile_engine(RTX, module, model, "it", TARGETS, ranges)


def test_current_without_a_gpu_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(DEMO, tmp_path / "demo")
    before = {file.name: file.stat().st_mtime_ns for file in (tmp_path / "demo").iterdir()}
    for flags in (["--tensorrt"], ["--tensorrt", "--target", "current"]):
        call = ["export", str(tmp_path / "demo"), "--out", str(tmp_path / "demo"), "--force", *flags]
        assert longjump.main(call) == 2
        printed = capsys.readouterr()
        assert "--target current: this machine has no GPU: no NVIDIA driver" in printed.err
        assert printed.err.count("\n") == 1
    assert {file.name: file.stat().st_mtime_ns for file in (tmp_path / "demo").iterdir()} == before


def test_compiling_needs_neither_torch_nor_onnx(tmp_path: Path) -> None:
    """A GPU node compiles for itself what it is given, from a folder that it cannot write to."""
    code = (
        "import sys; sys.modules['torch'] = sys.modules['onnx'] = None; import longjump; "
        "sys.exit(longjump.main(sys.argv[1:]))"
    )
    call = ["export", str(DEMO), "--out", str(tmp_path / "here"), "--tensorrt", "--target", "sm89", "--max-batch", "1"]
    environment = {**os.environ, "LONGJUMP_ENGINE_CACHE": str(tmp_path / "cache")}
    done = subprocess.run([sys.executable, "-c", code, *call], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert "jump.fp32.tensorrt-rtx.sm89.engine" in done.stdout
    assert open_bundle(tmp_path / "here").manifest.engines[-1].target == "sm89"
    assert len(list((tmp_path / "cache").glob("*.engine"))) == 1


def test_fp32_products_that_a_gpu_lacks_are_refused_with_the_reason(tmp_path: Path) -> None:
    """Turing: TensorRT-RTX has no float32 products for it."""
    graph = (DEMO / "jump.fp32.onnx").read_bytes()
    with pytest.raises(ValueError, match=r"cannot compile it for sm75: .*FP32 GEMM is not supported"):
        compile_engine(RTX, load_library(RTX), graph, "jump.fp32.onnx", ("sm75",), batch_ranges(1))

"""Tiny graphs, bundles and checkpoints, made in a moment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from export.decode import IR_VERSION, OPSET, build_decode
from export.export import export
from export.runtime.bundle import Bundle, open_bundle, write_bundle
from export.runtime.grids import Span, flow_grid
from export.runtime.images import encode
from models.autoencoder import Autoencoder, AutoencoderConfig, save_autoencoder
from models.build import DiTArchitecture, MLPArchitecture, build
from models.checkpoint import CheckpointConfig, GuidanceInput, write_weights
from tests.once import once, read_operators_once

MakeJump = Callable[..., onnx.ModelProto]
MakeBundle = Callable[..., Bundle]

read_operators_once()

IMAGE = (3, 4, 4)
SCALES = GuidanceInput(min=0.5, max=4, default=1.5)


@pytest.fixture
def make_jump() -> MakeJump:
    """z_s = z - (t - s) * (z - 0.1 * label) * guidance, as a graph; each keyword spoils or changes one thing."""
    return _make_jump


@pytest.fixture
def make_bundle(tmp_path: Path) -> MakeBundle:
    """Writes the bundle of that jump: make_bundle(name, z_shape=..., card=bytes, **manifest fields)."""

    def make(name: str = "toy", z_shape: tuple[int, ...] = IMAGE, card: bytes = b"# A toy\n", **changes: Any) -> Bundle:
        fields, contents = bundle_parts(name, z_shape, card)
        return write_bundle(tmp_path / name, {**fields, **changes}, contents)

    return make


def bundle_parts(name: str, z_shape: tuple[int, ...], card: bytes) -> tuple[dict[str, Any], dict[str, bytes | Path]]:
    """The manifest fields and files of a toy bundle."""
    image = len(z_shape) == 3
    contents: dict[str, bytes | Path] = {
        "jump.fp32.onnx": _make_jump(z_shape).SerializeToString(),
        "README.md": card,
    }
    if image:
        contents["decode.fp32.onnx"] = build_decode(z_shape)
    engine = {
        "backend": "onnxruntime",
        "file": "jump.fp32.onnx",
        "precision": "fp32",
        "target": "any",
        "builder": "test",
        "state": "built",
    }
    fields = {
        "name": name,
        "kind": "image" if image else "points",
        "z_shape": z_shape,
        "image_shape": (*z_shape[1:], 3) if image else None,
        "labels": ["ash", "birch", "cedar"],
        "null_label": 3,
        "span": "any",
        "grids": {str(n): flow_grid(n) for n in (1, 2, 4)},
        "steps": [1, 2, 4],
        "precisions": ["fp32"],
        "engines": [engine],
        "batch_invariant": {"fp32": True},
        "method": "toy",
        "licence": "CC0-1.0",
    }
    return fields, contents


def _make_jump(
    z_shape: tuple[int, ...] = IMAGE,
    *,
    batch: int | str = "batch",
    guidance: bool = False,
    label_type: int = TensorProto.INT64,
    rename: dict[str, str] | None = None,
    output: str = "z_s",
    last: str = "jumped",
    weight: float = 0.1,
) -> onnx.ModelProto:
    """`last` chooses what is given out: jumped (right), velocity (u), swapped (t and s), infinite."""
    column = np.array([-1] + [1] * len(z_shape), dtype=np.int64)
    nodes = [
        helper.make_node("Cast", ["label"], ["label_f"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["label_f", "column"], ["label_c"]),
        helper.make_node("Mul", ["label_c", "weight"], ["mean"]),
        helper.make_node("Sub", ["z", "mean"], ["plain"]),
        helper.make_node("Reshape", ["guidance" if guidance else "one", "column"], ["scale"]),
        helper.make_node("Mul", ["plain", "scale"], ["velocity"]),
        helper.make_node("Sub", ["s", "t"] if last == "swapped" else ["t", "s"], ["span"]),
        helper.make_node("Reshape", ["span", "column"], ["span_c"]),
        helper.make_node("Mul", ["span_c", "velocity"], ["move"]),
        helper.make_node("Sub", ["z", "move"], ["jumped"]),
        helper.make_node("Identity" if last != "infinite" else "Exp", [_given(last)], ["scaled"]),
        helper.make_node("Identity", ["scaled"], [output]),
    ]
    inputs = [
        helper.make_tensor_value_info("z", TensorProto.FLOAT, [batch, *z_shape]),
        helper.make_tensor_value_info("t", TensorProto.FLOAT, [batch]),
        helper.make_tensor_value_info("s", TensorProto.FLOAT, [batch]),
        helper.make_tensor_value_info("label", label_type, [batch]),
    ]
    if guidance:
        inputs.append(helper.make_tensor_value_info("guidance", TensorProto.FLOAT, [batch]))
    # exp(1e4 z) overflows where the graph is to give infinities.
    huge = numpy_helper.from_array(np.float32(1e4), "huge")
    if last == "infinite":
        nodes.insert(-2, helper.make_node("Mul", ["z", "huge"], ["large"]))
    initializers = [
        numpy_helper.from_array(column, "column"),
        numpy_helper.from_array(np.float32(weight), "weight"),
        numpy_helper.from_array(np.ones(1, dtype=np.float32), "one"),
        huge,
    ]
    for node in nodes:
        node.input[:] = [(rename or {}).get(name, name) for name in node.input]
    for value in inputs:
        value.name = (rename or {}).get(value.name, value.name)
    outputs = [helper.make_tensor_value_info(output, TensorProto.FLOAT, [batch, *z_shape])]
    graph = helper.make_graph(nodes, "jump", inputs, outputs, initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


def _given(last: str) -> str:
    return {"jumped": "jumped", "swapped": "jumped", "velocity": "velocity", "infinite": "large"}[last]


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Checkpoints of tiny networks with random weights: image (any), flow (image, velocity), points (unconditional),
    and guided (image, any), which takes a guidance scale."""
    folder = tmp_path_factory.mktemp("checkpoints")
    dit = DiTArchitecture(width=16, depth=1, heads=2, parametrisation="edm")
    mlp = MLPArchitecture(width=16, depth=2)
    return {
        "image": _save(folder / "image", dit, (3, 8, 8), ("ash", "birch"), "any"),
        "flow": _save(folder / "flow", dit, (1, 4, 4), ("ash", "birch"), "velocity"),
        "points": _save(folder / "points", mlp, (2,), (), "any"),
        "guided": _save(folder / "guided", dit, (3, 8, 8), ("ash", "birch"), "any", SCALES),
    }


@pytest.fixture(scope="session")
def exported_image(checkpoints: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The exported bundle of checkpoints["image"]."""
    return _exported(tmp_path_factory, "image", lambda out: export(checkpoints["image"], out, licence="CC0-1.0"))


@pytest.fixture(scope="session")
def exported_guided(checkpoints: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The exported bundle of checkpoints["guided"]."""
    return _exported(tmp_path_factory, "guided", lambda out: export(checkpoints["guided"], out))


@pytest.fixture(scope="session")
def exported_points(checkpoints: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The exported bundle of checkpoints["points"]."""
    return _exported(tmp_path_factory, "points", lambda out: export(checkpoints["points"], out))


def _exported(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Bundle:
    """What `make` exports, in a folder that is called `name`: that is the bundle's name."""
    return open_bundle(once(factory, f"exported-{name}", lambda folder: make(folder / name)) / name)


@pytest.fixture(scope="session")
def exported_latent(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle of latents [4, 4, 4] of pictures 8x8, in fp32 and fp16."""
    folder = tmp_path_factory.mktemp("latent")
    data = {"name": "toy", "latents": {"mean": [0.1, 0.0, -0.2, 0.0], "scale": [0.9, 1.1, 1.0, 1.0]}}
    dit = DiTArchitecture(width=16, depth=1, heads=2, parametrisation="edm")
    checkpoint = _save(folder / "checkpoint", dit, (4, 4, 4), ("ash", "birch"), "any", data=data)
    torch.manual_seed(1)
    config = AutoencoderConfig(block_out_channels=(8, 8), layers_per_block=1, norm_num_groups=4)
    (folder / "vae").mkdir()
    save_autoencoder(folder / "vae", Autoencoder(config))
    return export(checkpoint, folder / "latent", autoencoder=folder / "vae", precisions=("fp32", "fp16"))


def _save(
    folder: Path,
    architecture: DiTArchitecture | MLPArchitecture,
    shape: tuple[int, ...],
    labels: tuple[str, ...],
    span: Span,
    scales: GuidanceInput | None = None,
    data: dict[str, Any] | None = None,
) -> Path:
    folder.mkdir()
    torch.manual_seed(0)
    flow_map = build(architecture, shape, len(labels), span, guidance=scales is not None)
    for parameter in flow_map.parameters():  # the last layers start at zero, where u would tell nothing
        torch.nn.init.normal_(parameter, std=0.2)
    write_weights(folder, "ema-0.05", flow_map.state_dict())
    for parameter in flow_map.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    write_weights(folder, "model", flow_map.state_dict())
    config = CheckpointConfig(
        method="toy",
        kind="points" if len(shape) == 1 else "image",
        shape=shape,
        labels=labels,
        architecture=architecture,
        span=span,
        guidance=scales,
        grids={str(n): [tuple(step) for step in flow_grid(n)] for n in (1, 2, 4)},
        emas=("0.05",),
        step=3,
        recipe={"run": {"batch": 2, "ema": (0.05,)}},
        data=data or {"name": "toy"},
    )
    (folder / "config.json").write_text(config.model_dump_json())
    (folder / "README.md").write_text("# A toy\n")
    (folder / "samples.png").write_bytes(encode(np.zeros((2, 2, 3), dtype=np.uint8), "png"))
    return folder

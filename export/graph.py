"""A flow map as an ONNX jump graph, by torch's exporter."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import onnxscript
import torch
from torch import Tensor, nn

from export.decode import OPSET
from export.strip import strip
from models.flow_map import FlowMap


class _Jump(nn.Module):
    """A flow map whose forward is its jump: what the exporter traces."""

    def __init__(self, flow_map: FlowMap) -> None:
        super().__init__()
        self.flow_map = flow_map

    def forward(self, z: Tensor, t: Tensor, s: Tensor, label: Tensor, guidance: Tensor | None = None) -> Tensor:
        return self.flow_map.jump(z, t, s, label, guidance)


def build_jump(flow_map: FlowMap, z_shape: Sequence[int], labels: int, guidance: bool = False) -> bytes:
    """The jump of a flow map as a serialised ONNX model, float32, its weights inside, with a dynamic batch.

    Inputs z f32 [B, *z_shape], t, s f32 [B], label i64 [B], and guidance f32 [B] for a map that takes it; output
    z_s. A map of span `velocity` evaluates u at (t, t): that is in FlowMap.jump. Stripped of what the exporter
    writes about itself.
    """
    inputs = {"z": torch.zeros(2, *z_shape), "t": torch.ones(2), "s": torch.zeros(2), "label": torch.full((2,), labels)}
    if guidance:
        inputs["guidance"] = torch.ones(2)
    return serialise(_Jump(flow_map), inputs, "z_s")


def serialise(module: nn.Module, inputs: dict[str, Tensor], output: str) -> bytes:
    """A module as a serialised ONNX model, its weights inside, with a dynamic batch.

    `inputs` are examples of two rows each, in the order of its arguments: torch.export would take a batch of one for a
    constant.
    """
    batch = torch.export.Dim("batch", min=1)
    with _quiet():
        program: Any = torch.onnx.export(
            module.eval(),
            tuple(inputs.values()),
            dynamo=True,
            opset_version=OPSET,
            input_names=list(inputs),
            output_names=[output],
            dynamic_shapes=tuple({0: batch} for _ in inputs),
            external_data=False,
            verbose=False,
        )
    model = program.model_proto
    strip(model)
    return bytes(model.SerializeToString(deterministic=True))


@contextmanager
def _quiet() -> Iterator[None]:
    """No word from the exporter about libraries that we do not use and its own deprecations: parity judges it."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def builder() -> str:
    """What build_jump builds with, for the manifest."""
    return f"torch {torch.__version__}, onnxscript {onnxscript.__version__}, opset {OPSET}"

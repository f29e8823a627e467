"""NaN and infinities become bytes of some picture, which may be nearer to the data than a model's: they are refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from export.runtime.bundle import open_bundle
from export.runtime.manifest import jump_file
from models.checkpoint import read_config, read_weights, write_weights
from trainer.evaluate.model import write_again

from .conftest import Small


def broken_checkpoint(small: Small, folder: Path, value: float) -> Path:
    """The default weights with one number replaced."""
    shutil.copytree(small.checkpoint, folder)
    name = f"ema-{read_config(folder).emas[0]}"
    state = read_weights(folder / f"{name}.safetensors")
    state[max(state, key=lambda key: state[key].numel())].view(-1)[0] = value
    write_weights(folder, name, state)
    return folder


def broken_bundle(small: Small, folder: Path, value: float) -> Path:
    """The graph with its largest constant replaced."""
    bundle = open_bundle(small.bundle)
    name = jump_file("fp32")
    model = onnx.load_from_string(bundle.read(name))
    largest = max(model.graph.initializer, key=lambda one: len(one.raw_data))
    array = np.full_like(numpy_helper.to_array(largest), value)
    largest.CopyFrom(numpy_helper.from_array(array, largest.name))
    write_again(bundle, folder, {}, {name: model.SerializeToString()}, False)
    return folder


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("broken", [broken_checkpoint, broken_bundle])
def test_samples_that_are_not_finite_are_measured(
    evaluate: Callable[..., tuple[int, str]], small: Small, tmp_path: Path, broken: Callable[..., Path], value: float
) -> None:
    model, out = broken(small, tmp_path / "broken", value), tmp_path / "out.json"
    there = sorted(model.iterdir())
    code, said = evaluate(model, "--data", small.data, "--steps", 2, "--samples", 16, "--out", out)
    assert code == 2
    assert said.splitlines()[-1].startswith(f"longjump eval: error: {model}")
    assert said.endswith(": samples are not finite at 2 steps\n")
    assert not out.exists()
    assert sorted(model.iterdir()) == there

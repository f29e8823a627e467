"""A checkpoint is JSON, safetensors, PNG and text, in regular files: nothing that runs code when it is read."""

from __future__ import annotations

import io
import json
import pickle
import pickletools
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

import models
import trainer
from trainer.data.dataset import open_dataset
from trainer.loop import train
from trainer.recipe import Recipe


def runs_code(content: bytes) -> bool:
    """Whether bytes are a pickle, of any protocol, or an archive that may hold one (torch.save's format)."""
    if zipfile.is_zipfile(io.BytesIO(content)):
        return True
    try:
        for _ in pickletools.genops(content):
            pass
    except Exception:
        return False
    return True


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_scan_misses_a_pickle(protocol: int) -> None:
    """Negative control of the scan."""
    assert runs_code(pickle.dumps({"weights": [1.0]}, protocol))


@pytest.mark.parametrize("zipped", [True, False])
def test_scan_misses_torch_save(zipped: bool) -> None:
    buffer = io.BytesIO()
    torch.save({"weights": torch.zeros(3)}, buffer, _use_new_zipfile_serialization=zipped)
    content = buffer.getvalue()
    assert runs_code(content) or runs_code(content[: content.index(b".") + 1])


@pytest.mark.parametrize("name", ["points/meanflow", "facets/meanflow"])
def test_checkpoint_holds_a_pickle(
    tmp_path: Path, tiny: Callable[..., Recipe], data_for: Callable[[str], Any], name: str
) -> None:
    folder = train(tiny(name, "run.steps=2"), data_for(name), tmp_path / "run")
    found = {str(file.relative_to(folder)): file for file in folder.rglob("*") if not file.is_dir()}
    assert set(found) == {
        "README.md",
        "config.json",
        "curves.png",
        "ema-0.050.safetensors",
        "ema-0.100.safetensors",
        "metrics.json",
        "model.safetensors",
        "resume/state.safetensors",
        "samples.png",
    }
    for file in found.values():
        assert file.is_file()
        assert not file.is_symlink()
        assert not runs_code(file.read_bytes())
        if file.suffix == ".safetensors":
            with safe_open(file, "pt") as tensors:
                assert tensors.keys()
        elif file.suffix == ".json":
            json.loads(file.read_text())
        elif file.suffix == ".png":
            assert file.read_bytes().startswith(b"\x89PNG")


def test_weights_are_for_one_user_only(tmp_path: Path, tiny: Callable[..., Recipe], points: Path) -> None:
    """safetensors makes files that only their owner reads; the weights are as readable as the card beside them."""
    folder = train(tiny("points/meanflow", "run.steps=1"), open_dataset(points), tmp_path / "run")
    assert len({file.stat().st_mode for file in folder.rglob("*") if file.is_file()}) == 1


def test_checkpoint_names_this_machine(tmp_path: Path, tiny: Callable[..., Recipe], points: Path) -> None:
    """It travels, so neither the path of the data nor that of the run is in it."""
    folder = train(tiny("points/meanflow", "run.steps=1"), open_dataset(points), tmp_path / "run")
    for file in folder.rglob("*"):
        assert file.is_dir() or str(tmp_path).encode() not in file.read_bytes(), file


def test_code_reads_a_pickle() -> None:
    """No torch.load, torch.save or pickle in what trains and loads, but for what others have published as one.

    That is CIFAR-10's archive, which tests/trainer/data/test_download_is_not_the_published_one.py shows to run no code,
    and the weights of networks that `longjump eval` measures with: read when their SHA-256 is right, and weights only.
    """
    published = {"folded.py": 'torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)'}
    forbidden = ("torch.load", "torch.save", "pickle.load", "allow_pickle=True", "import joblib", "yaml.load(")
    importing = []
    for package in (models, trainer):
        for file in Path(package.__path__[0]).rglob("*.py"):
            text = file.read_text().replace(published.get(file.name, "\0"), "")
            assert not [word for word in forbidden if word in text], file
            importing += [file.name] if "import pickle" in file.read_text() else []
    assert importing == ["cifar10.py"]

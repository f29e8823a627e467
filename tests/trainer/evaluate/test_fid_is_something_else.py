"""`fid` is of Inception's features or is not there; 50,000 samples unless told otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from trainer.data.dataset import open_dataset
from trainer.evaluate import command
from trainer.evaluate.distances import frechet, gaussian
from trainer.evaluate.evaluation import Asked, Evaluation
from trainer.evaluate.extractor import Extractor
from trainer.evaluate.generator import from_checkpoint
from trainer.evaluate.report import quality, section, terminal
from trainer.evaluate.store import Store

from .conftest import Small


class Means(nn.Module):
    """Means over halves of the picture: some features, for where Inception's would be."""

    def forward(self, images: Tensor) -> Tensor:
        return images.float().unflatten(2, (2, -1)).mean((3, 4)).flatten(1)


def stand_in(title: str) -> Extractor:
    return Extractor(Means(), torch.device("cpu"), title, "0" * 64, "not resized")


@pytest.fixture
def evaluation(small: Small, tmp_path: Path) -> Any:
    generator = from_checkpoint(small.checkpoint, None, None, torch.device("cpu"))
    store, asked = Store(tmp_path, shown=False), Asked((1,), 24)

    def make(inception: Extractor | None) -> Evaluation:
        return Evaluation(generator, open_dataset(small.data), asked, store, stand_in("Lite"), inception)

    return make


def test_fid_is_there_without_inception(evaluation: Any) -> None:
    results, _ = evaluation(None).run()
    assert "fid" not in results["steps"]["1"]
    assert "fid" not in results["floor"]
    assert "FID |" not in section(results).replace("not FID", "")


def test_fid_is_of_other_features(evaluation: Any, small: Small) -> None:
    asked = evaluation(stand_in("Inception"))
    results, _ = asked.run()
    samples, test = asked._samples(1), open_dataset(small.data).test
    assert test is not None
    wanted = frechet(*(gaussian(stand_in("")(np.asarray(one))) for one in (samples, test.x)))
    assert results["steps"]["1"]["fid"] == pytest.approx(wanted, rel=1e-5)
    assert results["settings"]["fid_extractor"]["network"] == "Inception"
    assert results["floor"]["fid"] < wanted
    assert quality(results)["steps"]["1"]["fid"] == results["steps"]["1"]["fid"]
    assert "FID" in terminal(results).splitlines()[2]


def test_fid_is_of_few_samples() -> None:
    assert (command.SAMPLES, command.FID_SAMPLES) == (10_000, 50_000)

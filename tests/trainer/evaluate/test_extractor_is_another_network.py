"""The networks are the published ones: features of the authors' code, weights that are known by their hash.

`published/efficientnet_lite0.json` has features of the package `efficientnet-lite-pytorch` 0.1.0 (`extract_features`,
mean over the places) for the pictures of `pattern`; `published/inception.json` those of torch-fidelity 0.4.0's
`FeatureExtractorInceptionV3` with the made-up weights of `weights`, and the shapes of all of its convolutions.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from trainer.evaluate import efficientnet, inception
from trainer.evaluate.extractor import Extractor, open_enetlite0, open_inception

PUBLISHED = Path(__file__).parent / "published"


def pattern(side: int, number: int) -> NDArray[np.uint8]:
    """Waves and a square of one colour: [side, side, 3]."""
    y, x = np.mgrid[0:side, 0:side]
    waves = [np.sin((x * (c + 1) + y * (number + 1)) / (9.0 + 5 * number) + c) for c in range(3)]
    image = 127.5 + 127.5 * np.stack(waves, axis=2)
    if side == 128:
        image[40:90, 30:100] = [230, 40, 90]
    else:
        image[60:160, 40 + 20 * number : 140 + 20 * number] = [230, 40, 90 + 50 * number]
    return np.round(image).clip(0, 255).astype(np.uint8)


def test_efficientnet_differs_from_its_authors(extractor: Extractor) -> None:
    wanted = json.loads((PUBLISHED / "efficientnet_lite0.json").read_text())
    large = extractor(np.stack([pattern(224, number) for number in range(3)]))
    found = np.concatenate([large, extractor(pattern(128, 0)[None])])
    assert found.shape == (4, 1280)
    np.testing.assert_allclose(found[:, ::80], wanted["every_80th_feature"], atol=2e-5)
    np.testing.assert_allclose(found.mean(1), wanted["mean"], rtol=2e-6)
    control = extractor(pattern(128, 0)[None, ::-1])
    assert np.abs(control - found[3:]).max() > 0.1, "control: another picture has other features"


def test_grey_or_small_pictures_have_other_features(extractor: Extractor) -> None:
    grey = pattern(128, 1)[None, ::4, ::4, :1]
    one = extractor(grey)
    np.testing.assert_allclose(one, extractor(np.repeat(grey, 3, axis=3)), atol=1e-6)
    enlarged = torch.nn.functional.interpolate(
        torch.from_numpy(grey.transpose(0, 3, 1, 2)).float(), (128, 128), mode="bilinear", align_corners=False
    )
    rounded = enlarged.numpy().transpose(0, 2, 3, 1).round().astype(np.uint8)
    assert np.corrcoef(one[0], extractor(rounded)[0])[0, 1] > 0.995
    assert np.corrcoef(one[0], extractor(rounded[:, :, ::-1])[0])[0, 1] < 0.98, "control: mirrored"
    batch = extractor(np.concatenate([grey] * 40))
    np.testing.assert_allclose(batch, np.repeat(one, 40, axis=0), atol=1e-5)


@pytest.fixture
def weights(uniform: Callable[..., Any]) -> dict[str, torch.Tensor]:
    """Made up, of the published shapes."""
    state = {}
    shapes = json.loads((PUBLISHED / "inception.json").read_text())["convolutions"]
    for number, (name, shape) in enumerate(shapes.items()):
        bound = np.sqrt(6 / np.prod(shape[1:]))
        state[f"{name}.conv.weight"] = (uniform(1000 + number, tuple(shape)) * 2 - 1) * bound
        scale, shift, mean, variance = uniform(5000 + number, (4, shape[0]))
        state[f"{name}.bn.weight"], state[f"{name}.bn.bias"] = 0.9 + 0.2 * scale, 0.2 * shift - 0.1
        state[f"{name}.bn.running_mean"], state[f"{name}.bn.running_var"] = 0.2 * mean - 0.1, 1 + 0.5 * variance
    return {name: torch.from_numpy(np.asarray(value)).float() for name, value in state.items()}


def test_inception_differs_from_torch_fidelity(
    weights: dict[str, torch.Tensor], uniform: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a file of weights, as with the real ones but for its hash, and through TensorFlow 1's resizing."""
    wanted = json.loads((PUBLISHED / "inception.json").read_text())
    file = tmp_path / "weights.pth"
    torch.save(weights, file)
    monkeypatch.setattr(inception, "SHA256", hashlib.sha256(file.read_bytes()).hexdigest())
    extract = open_inception(file, torch.device("cpu"))
    pictures = (uniform(7, (2, 3, 40, 32)) * 256).astype(np.uint8).transpose(0, 2, 3, 1)
    found = extract(pictures)
    assert found.shape == (2, 2048)
    np.testing.assert_allclose(found[:, ::128], wanted["every_128th_feature"], rtol=2e-3, atol=1e-5)
    assert found.mean() == pytest.approx(wanted["mean"], rel=1e-5)


def test_every_weight_of_inception_is_used(weights: dict[str, torch.Tensor]) -> None:
    used = set()

    class Watched(dict[str, torch.Tensor]):
        def __getitem__(self, name: str) -> torch.Tensor:
            used.add(name)
            return super().__getitem__(name)

    inception.Inception(Watched(weights))
    assert used == set(weights)


def test_resizing_is_pytorchs() -> None:
    """TensorFlow 1's has no half pixel: of two pixels made four, the second is the mean and the last the end."""
    assert inception.resizing(2, 4).tolist() == [[1, 0], [0.5, 0.5], [0, 1], [0, 1]]


def test_other_weights_are_taken(
    weights: dict[str, torch.Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "weights-inception-2015-12-05-6726825d.pth"
    torch.save({"fc.weight": torch.zeros(2)}, file)
    with pytest.raises(ValueError, match=r"is not the Inception of FID .*6726825d0af5f729"):
        open_inception(file, torch.device("cpu"))
    monkeypatch.setattr(efficientnet, "SHA256", "0" * 64)
    with pytest.raises(ValueError, match="is not EfficientNet-Lite0's weights"):
        open_enetlite0(32, 32, torch.device("cpu"))

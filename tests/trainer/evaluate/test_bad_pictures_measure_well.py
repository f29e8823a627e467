"""Each figure moves the right way: blur, noise, missing classes, repeats and copies, beside real against real.

Every fourth of the 1,280 features is taken: the distances are as good, and quicker. 64 pictures on a side.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from trainer.evaluate.classifier import fit
from trainer.evaluate.extractor import Extractor
from trainer.evaluate.measure import Yardstick
from trainer.evaluate.neighbours import nearest

from .conftest import Pictures


def thin(features: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.ascontiguousarray(features[:, ::4])


@pytest.fixture(scope="module")
def yardstick(facets: Pictures) -> Yardstick:
    """The second half of training is what was trained on: the first plays a generator that is as good as can be."""
    training, test = thin(facets.train_features[64:]), thin(facets.test_features)
    classifier = fit(training, facets.train_labels[64:], 8)
    return Yardstick(test, training, nearest(test, training)[1][:, 0], classifier)


def figures(yardstick: Yardstick, features: NDArray[np.float32], labels: NDArray[np.int64]) -> dict[str, Any]:
    found = yardstick.measure(features, labels, nearest(features, yardstick.training)[1][:, 0])
    return {**found, **found.pop("copying")}


@pytest.fixture(scope="module")
def real(facets: Pictures, yardstick: Yardstick) -> dict[str, Any]:
    return figures(yardstick, thin(facets.train_features[:64]), facets.train_labels[:64])


def test_real_pictures_are_not_at_the_floor(real: dict[str, Any], yardstick: Yardstick, facets: Pictures) -> None:
    other = yardstick.distances(thin(facets.train_features[64:]))
    assert real["fd_enetlite0"] == pytest.approx(other["fd_enetlite0"], rel=0.15)
    assert abs(real["kid_enetlite0"]) < 0.1
    assert min(real["precision"], real["recall"], real["coverage"]) > 0.7
    assert 0.7 < real["density"] < 1.3
    assert real["class_accuracy"] > 0.85
    assert 0.35 < real["nearer"] < 0.65


def test_blur_looks_good(facets: Pictures, extractor: Extractor, yardstick: Yardstick, real: dict[str, Any]) -> None:
    soft = [Image.fromarray(picture).filter(ImageFilter.GaussianBlur(1.2)) for picture in facets.train[:64]]
    found = figures(yardstick, thin(extractor(np.stack([np.asarray(one) for one in soft]))), facets.train_labels[:64])
    assert found["fd_enetlite0"] > 1.5 * real["fd_enetlite0"]
    assert found["kid_enetlite0"] > real["kid_enetlite0"] + 0.2
    assert max(found["precision"], found["density"]) < 0.6 * real["precision"]
    assert found["nearer"] < 0.3


def test_noise_looks_good(facets: Pictures, extractor: Extractor, yardstick: Yardstick, real: dict[str, Any]) -> None:
    rng = np.random.default_rng(5)
    little, much = (
        (facets.train[:64] + rng.normal(0, level, (64, 32, 32, 3))).round().clip(0, 255).astype(np.uint8)
        for level in (6, 50)
    )
    labels = facets.train_labels[:64]
    less, more = (figures(yardstick, thin(extractor(pictures)), labels) for pictures in (little, much))
    assert real["fd_enetlite0"] < less["fd_enetlite0"] < more["fd_enetlite0"]
    assert real["kid_enetlite0"] < less["kid_enetlite0"] < more["kid_enetlite0"]
    assert more["precision"] < 0.5 * real["precision"]
    assert more["class_accuracy"] < real["class_accuracy"] - 0.1


def test_missing_classes_go_unseen(facets: Pictures, yardstick: Yardstick, real: dict[str, Any]) -> None:
    """Half of the classes, twice as many of each: precise, but not all of the data."""
    rows = np.flatnonzero(facets.train_labels < 4)
    found = figures(yardstick, thin(facets.train_features[rows]), facets.train_labels[rows])
    assert len(rows) == 64
    assert found["precision"] > real["precision"] - 0.1
    assert found["recall"] < 0.8 * real["recall"]
    assert found["coverage"] < 0.8 * real["coverage"]
    assert found["fd_enetlite0"] > 1.3 * real["fd_enetlite0"]
    assert found["kid_enetlite0"] > real["kid_enetlite0"] + 0.1


def test_repeats_go_unseen(facets: Pictures, yardstick: Yardstick, real: dict[str, Any]) -> None:
    """One picture of each class, again and again: precise and of the right class, but no variety."""
    rows = np.arange(64) % 8
    found = figures(yardstick, thin(facets.train_features[rows]), facets.train_labels[rows])
    assert found["class_accuracy"] > 0.85
    assert found["precision"] > 0.7
    assert found["recall"] < 0.3 < 0.7 < real["recall"]
    assert found["coverage"] < 0.7 * real["coverage"]
    assert found["fd_enetlite0"] > 1.3 * real["fd_enetlite0"]


def test_wrong_class_goes_unseen(facets: Pictures, yardstick: Yardstick, real: dict[str, Any]) -> None:
    wrong = (facets.train_labels[:64] + (np.arange(64) < 32)) % 8
    found = figures(yardstick, thin(facets.train_features[:64]), wrong)
    assert found["class_accuracy"] == pytest.approx(0.5, abs=0.1)
    assert found["worst_class_accuracy"] < 0.6
    assert found["fd_enetlite0"] == real["fd_enetlite0"]


def test_copies_go_unseen(facets: Pictures, extractor: Extractor, yardstick: Yardstick, real: dict[str, Any]) -> None:
    """Training pictures with a pixel changed look as good as real ones, and are caught as copies."""
    copies = facets.train[64:].copy()
    copies[:, 3, 3] ^= 8
    found = figures(yardstick, thin(extractor(copies)), facets.train_labels[64:])
    assert found["precision"] > real["precision"] - 0.1
    assert found["nearer"] > 0.95
    assert found["close"] > 0.9
    assert found["close_fresh"] < 0.1
    assert real["close"] < 0.1

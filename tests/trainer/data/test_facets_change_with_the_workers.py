"""The pixels of facets are a function of (size, seed, split, index) and of nothing else."""

from __future__ import annotations

import multiprocessing
import os
import re
from functools import partial
from typing import Any

import numpy as np
import pytest

from trainer.data import facets, workers
from trainer.data.facets import CLASSES, draw_facets, facets_info, facets_labels, seed_string

MEAN_COLOURS = [
    (207.8, 215.3, 220.2), (152.6, 133.6, 97.1), (218.1, 200.3, 170.4), (164.6, 176.0, 175.5),
    (221.3, 221.3, 221.3), (167.5, 223.5, 202.8), (208.3, 159.5, 142.8), (187.1, 187.1, 187.1),
    (160.7, 148.7, 143.2), (225.1, 219.2, 210.3), (27.1, 48.8, 53.7), (61.8, 72.4, 79.2),
    (79.7, 94.3, 205.3), (26.4, 115.3, 153.4), (183.8, 148.4, 144.1), (197.7, 177.1, 177.6),
]  # fmt: skip
"""Mean (R, G, B) of picture 0 of each class."""


def test_same_pixels_with_any_workers(tiny_facets: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facets, "CHUNK", 1)  # 48 tasks instead of 32
    spread = draw_facets(32, 32, 16, workers=2, progress=False)
    for split in ("train", "test"):
        np.testing.assert_array_equal(spread[split], tiny_facets[split])


def test_a_smaller_data_set_is_a_prefix(tiny_facets: dict[str, np.ndarray]) -> None:
    small = draw_facets(32, 16, 0, workers=1, progress=False)
    assert list(small) == ["train"]
    np.testing.assert_array_equal(small["train"], tiny_facets["train"][:16])


def test_another_seed_or_split_is_another_picture(tiny_facets: dict[str, np.ndarray]) -> None:
    other = draw_facets(32, 16, 0, seed=1, workers=1, progress=False)["train"]
    train, test = tiny_facets["train"][:16], tiny_facets["test"]
    assert (other != train).any(axis=(1, 2, 3)).all()
    assert (test != train).any(axis=(1, 2, 3)).all()


def test_train_and_test_share_no_seed() -> None:
    splits = [{seed_string(0, split, index) for index in range(3000)} for split in ("train", "test")]
    assert [len(seeds) for seeds in splits] == [3000, 3000]
    assert not splits[0] & splits[1]


def test_classes_are_balanced_and_the_labels_right(tiny_facets: dict[str, np.ndarray]) -> None:
    assert np.ptp(np.bincount(facets_labels(1000))) == 1
    for index in (0, 5, 21):
        name = CLASSES[facets_labels(32)[index]]
        assert f"/{name}/" in seed_string(0, "train", index)
        np.testing.assert_array_equal(
            tiny_facets["train"][index], facets.draw(name, seed_string(0, "train", index), 32)
        )


def test_pictures_are_the_known_ones(tiny_facets: dict[str, np.ndarray]) -> None:
    """Compares mean colours: another processor may round otherwise, but no style may change unseen."""
    means = tiny_facets["train"][:16].mean(axis=(1, 2))
    np.testing.assert_allclose(means, MEAN_COLOURS, atol=1.0)
    other = tiny_facets["train"][16:].mean(axis=(1, 2))
    assert (np.abs(other - MEAN_COLOURS).max(axis=1) > 1.0).sum() >= 15, "must tell pictures apart"


def test_repeats_are_counted(tiny_facets: dict[str, np.ndarray]) -> None:
    distinct = facets_info(tiny_facets, 32, 0)["distinct"]
    assert distinct["train"]["clay"] == 2
    assert distinct["test_also_in_train"]["clay"] == 0
    repeated = {"train": tiny_facets["train"].copy(), "test": tiny_facets["train"][:16]}
    repeated["train"][16] = repeated["train"][0]
    distinct = facets_info(repeated, 32, 0)["distinct"]
    assert distinct["train"]["clay"] == 1
    assert set(distinct["test_also_in_train"].values()) == {1}


def test_a_dead_worker_is_an_error_not_a_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_start_worker", partial(os._exit, 9))
    with pytest.raises(OSError, match="a worker process died"):
        draw_facets(32, 16, 0, workers=2, progress=False)
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 48}, "--size is 48; facets are drawn at 32 or 64"),
        ({"train": 15}, "--train is 15; 16 classes need at least as many images"),
        ({"test": 1}, "--test is 1; give 0 (no test split) or at least 16"),
        ({"test": -1}, "--test is -1"),
        ({"seed": -1}, "--seed is -1"),
        ({"workers": 0}, "--workers is 0"),
    ],
)
def test_what_cannot_be_drawn_is_refused(arguments: dict[str, int], message: str) -> None:
    right: dict[str, Any] = {"size": 32, "train": 16, "test": 0}
    with pytest.raises(ValueError, match=re.escape(message)):
        draw_facets(**(right | arguments))

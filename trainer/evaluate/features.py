"""Features of pictures, made once and kept."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.data.dataset import Dataset
from trainer.evaluate.extractor import Extractor
from trainer.evaluate.generator import Pictures
from trainer.evaluate.store import Store

Features = NDArray[np.float32]
"""[N, D]"""


def features_of(store: Store, extractor: Extractor, of: dict[str, Any], pictures: Pictures, title: str) -> Features:
    """Of pictures uint8 [N, H, W, C], and `of` says which those are."""
    what = {**extractor.identity, "what": "features", "of": of}
    title = f"{title}: features by {extractor.title.partition(' ')[0]}"
    return store.rows(what, len(pictures), lambda start, stop: extractor(pictures[start:stop]), title)


def split_features(
    store: Store, extractor: Extractor, dataset: Dataset, split: str, rows: NDArray[np.int64] | None = None
) -> Features:
    """Of a split of a data set; of some of its rows."""
    pictures = {"train": dataset.train, "test": dataset.test}[split].x  # type: ignore[union-attr]
    what = {"what": "pictures", "sha256": dataset.info["sha256"][f"{split}.images"]}
    if rows is not None:
        pictures, what = pictures[rows], {**what, "rows": rows.tolist()}
    return features_of(store, extractor, what, pictures, f"{split} split")


def some(count: int, most: int) -> NDArray[np.int64]:
    """At most so many rows of `count`, drawn at random with a fixed seed, in order."""
    return np.sort(np.random.default_rng(0).permutation(count)[:most])

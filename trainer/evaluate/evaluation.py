"""An evaluation from end to end: features of real pictures, samples of each step count, their features, the figures."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from trainer.data.arrays import Split
from trainer.data.dataset import Dataset
from trainer.evaluate import classifier as classifiers
from trainer.evaluate.classes import classes_as
from trainer.evaluate.distances import Gaussian, frechet, gaussian
from trainer.evaluate.extractor import Extractor
from trainer.evaluate.features import Features, features_of, some, split_features
from trainer.evaluate.generator import Generator, Pictures, longjump_version
from trainer.evaluate.measure import Yardstick
from trainer.evaluate.neighbours import BALL, DENSE_BALL, Floats, nearest
from trainer.evaluate.panel import NEIGHBOURS, chosen, panel
from trainer.evaluate.store import Store

FORMAT = 1
"""Of the results."""

FIRST_SEED = 10_000_000
"""Of the samples: none of those that a training chose its best checkpoint by (`trainer.score`)."""

LEAST = 16
"""Samples, and real pictures of a split: fewer have no neighbours to speak of."""

MOST = 1_000_000
"""Samples: all are held in memory, and so many features take 5 GB."""

NOT_FID = (
    "fd_enetlite0 and kid_enetlite0 are distances of EfficientNet-Lite0's features: they are not FID and not KID, and "
    "compare only with figures of the same network, data, resolution and number of samples"
)


@dataclass(frozen=True)
class Asked:
    """What is to be measured."""

    steps: tuple[int, ...]
    samples: int
    seed: int = FIRST_SEED
    reference: Literal["test", "train"] = "test"


class Evaluation:
    """Figures of a generator against a data set.

    Args:
        generator: what makes the samples.
        dataset: pictures, with a test split.
        asked: what is to be measured.
        store: where everything that takes long is kept.
        extractor: EfficientNet-Lite0.
        inception: that of FID; None: no `fid`.

    Raises:
        ValueError: the two do not fit each other, with what would be right.
    """

    def __init__(
        self,
        generator: Generator,
        dataset: Dataset,
        asked: Asked,
        store: Store,
        extractor: Extractor,
        inception: Extractor | None = None,
    ) -> None:
        self.generator, self.dataset, self.asked = generator, dataset, asked
        self.store, self.extractor, self.inception = store, extractor, inception
        self.splits = fitting(generator, dataset, asked)
        self.classes = classes_as(self.splits[asked.reference], dataset, generator)

    def run(self) -> tuple[dict[str, Any], bytes]:
        """All figures as JSON, and the panel of neighbours of the first step count as a PNG."""
        yardstick = self._yardstick()
        other = "test" if self.asked.reference == "train" else "train"
        floor = self._floor(yardstick, other)
        steps, picture = {}, b""
        for count in self.asked.steps:
            samples = self._samples(count)
            features = features_of(self.store, self.extractor, self._sampled(count), samples, _steps(count))
            _, away = nearest(features, yardstick.training)
            found = yardstick.measure(features, self.classes.of(0, len(features)), away[:, 0])
            if "worst_class" in found:
                found["worst_class"] = self.dataset.classes[found["worst_class"]]
            if self.inception is not None:
                found["fid"] = frechet(
                    gaussian(features_of(self.store, self.inception, self._sampled(count), samples, _steps(count))),
                    self._fid_reference,
                )
            steps[str(count)] = _short(found)
            picture = picture or self._panel(samples, features, away[:, 0], yardstick)
        return {
            "format": FORMAT,
            "note": NOT_FID,
            "model": {"name": self.generator.name, **self.generator.identity},
            "settings": self._settings(other, floor["samples"], yardstick),
            "floor": _short(floor),
            "steps": steps,
            "made": made(self.extractor.device),
        }, picture

    def _settings(self, other: str, floor: int, yardstick: Yardstick) -> dict[str, Any]:
        seed, count = self.asked.seed, self.asked.samples
        data = self.dataset
        return {
            "samples": count,
            "seeds": [seed, seed + count - 1],
            "labels": "as the reference has them" if self.classes.cycle is not None else "none",
            "guidance": self.generator.guidance,
            "resolution": list(self.generator.size),
            "data": {"name": data.name, "sha256": data.sha256, "licence": data.info.get("licence", "unknown")},
            "reference": {"split": self.asked.reference, "pictures": len(yardstick.reference)},
            "training": {
                "pictures": len(yardstick.training),
                "trained_on": None if self.generator.data is None else self.generator.data == data.sha256,
            },
            "floor": f"{floor} pictures of the {other} split in place of samples",
            "extractor": {**self.extractor.identity, "features": yardstick.reference.shape[1]},
            **({} if self.inception is None else {"fid_extractor": self.inception.identity}),
            "neighbours": {"precision_recall": BALL, "density_coverage": DENSE_BALL},
            "kernel": "(a.b/D + 1)^3, unbiased, over all pairs",
        }

    def _yardstick(self) -> Yardstick:
        features = {name: self._real(self.extractor, name) for name in self.splits}
        key = {**self.extractor.identity, "data": self.dataset.sha256}
        training = features["train"]
        fresh: Floats = self.store.array(
            {"what": "distances of the test split to the training split", **key},
            lambda: nearest(features["test"], training)[1][:, 0],
        )
        classifier, labels, classes = None, self.dataset.train.labels, len(self.dataset.classes)
        if self.classes.cycle is not None and labels is not None:
            packed = self.store.array(
                {"what": "classifier of the training split", **key},
                lambda: _pack(classifiers.fit(training, np.asarray(labels, np.int64), classes)),
            )
            classifier = classifiers.Classifier(packed[:, :-1], packed[:, -1])
        return Yardstick(features[self.asked.reference], training, fresh, classifier)

    def _floor(self, yardstick: Yardstick, other: str) -> dict[str, Any]:
        """The figures of real pictures in the place of samples."""
        features = self._real(self.extractor, other)
        rows = some(len(features), self.asked.samples)
        test = self.splits["test"]
        found: dict[str, Any] = {"samples": len(rows), **yardstick.distances(features[rows])}
        if yardstick.classifier is not None and test.labels is not None:  # not of pictures that it was fitted to
            on_test = yardstick.accuracy(self._real(self.extractor, "test"), np.asarray(test.labels, np.int64))
            found["class_accuracy"] = on_test["class_accuracy"]
        if self.inception is not None:
            found["fid"] = frechet(gaussian(self._real(self.inception, other)[rows]), self._fid_reference)
        return found

    @cached_property
    def _fid_reference(self) -> Gaussian:
        assert self.inception is not None
        return gaussian(self._real(self.inception, self.asked.reference))

    def _sampled(self, steps: int) -> dict[str, Any]:
        """All that sample i depends on, for every i."""
        return {
            "what": "samples",
            "model": self.generator.identity,
            "grid": [list(step) for step in self.generator.grid(steps)],
            "guidance": self.generator.guidance,
            "seed": self.asked.seed,
            "labels": self.classes.sha256,
        }

    def _samples(self, steps: int) -> Pictures:
        grid, seed = self.generator.grid(steps), self.asked.seed

        def make(start: int, stop: int) -> Pictures:
            return self.generator.draw(grid, seed + start, self.classes.asked(start, stop))

        return self.store.rows(self._sampled(steps), self.asked.samples, make, f"{_steps(steps)}: drawing")

    def _real(self, extractor: Extractor, split: str) -> Features:
        return split_features(self.store, extractor, self.dataset, split)

    def _panel(self, samples: Pictures, features: Features, away: Floats, yardstick: Yardstick) -> bytes:
        halves = []
        for rows in chosen(away):
            places, _ = nearest(features[rows], yardstick.training, NEIGHBOURS)
            train = self.splits["train"].x
            halves.append((samples[rows], np.stack([[train[place] for place in row] for row in places])))
        return panel(halves)


def fitting(generator: Generator, dataset: Dataset, asked: Asked) -> dict[str, Split]:
    """The splits of a data set that a generator can be measured against; ValueError where that has no sense."""
    check_pictures(dataset)
    if dataset.test is None:
        raise ValueError(
            f"data set {dataset.name} has no test split, and against pictures that were trained on copies look best; "
            "build it with one (`longjump data build --help`: --test, --test-share)"
        )
    splits = {"train": dataset.train, "test": dataset.test}
    for name, split in splits.items():
        if len(split.x) < LEAST:
            raise ValueError(
                f"the {name} split of {dataset.name} has {len(split.x)} pictures; at least {LEAST} it takes"
            )
    check_samples(asked.samples)
    check_fits(generator, dataset)
    for steps in asked.steps:
        generator.grid(steps)
    return splits


def check_samples(count: int) -> None:
    """Raise ValueError for a number of samples that no figure can be of."""
    if count < LEAST:
        raise ValueError(f"--samples must be at least {LEAST}, not {count}")
    if count > MOST:
        raise ValueError(f"--samples must be at most {MOST}, not {count}: all are held in memory")


def check_pictures(dataset: Dataset) -> None:
    """Raise ValueError for a data set of something else than pictures."""
    if dataset.train.key != "images":
        raise ValueError(f"data set {dataset.name} holds {dataset.train.key}; pictures are measured against pictures")


def check_fits(generator: Generator, dataset: Dataset) -> None:
    """Raise ValueError where pictures of a generator and of a data set have other sizes or classes."""
    if dataset.shape[:2] != generator.size:
        wanted, found = ("x".join(map(str, size)) for size in (generator.size, dataset.shape[:2]))
        raise ValueError(f"{generator.name} makes pictures of {wanted}, but {dataset.name} holds {found}")
    unknown = [name for name in dataset.classes if name not in generator.labels]
    if generator.labels and (unknown or not dataset.classes):
        what = f"no class {unknown[0]!r}" if unknown else "labels, but the data has none"
        raise ValueError(f"{generator.name} and data set {dataset.name} do not fit: the model has {what}")


def made(device: torch.device) -> dict[str, str]:
    """When and with what."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "longjump": longjump_version(),
        "torch": torch.__version__,
        "device": name,
    }


def _pack(classifier: classifiers.Classifier) -> NDArray[np.float32]:
    return np.concatenate([classifier.weight, classifier.bias[:, None]], axis=1)


def _steps(count: int) -> str:
    return f"{count} step" + "s" * (count != 1)


def _short(figures: dict[str, Any]) -> dict[str, Any]:
    """Numbers with six digits that count."""
    return {
        name: _short(value) if isinstance(value, dict) else float(f"{value:.6g}") if isinstance(value, float) else value
        for name, value in figures.items()
    }

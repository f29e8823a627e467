"""The figures of a set of samples: its features against those of real pictures."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.evaluate.classifier import Classifier
from trainer.evaluate.distances import Gaussian, frechet, gaussian, kernel_distance
from trainer.evaluate.features import Features
from trainer.evaluate.neighbours import BALL, DENSE_BALL, Floats, copying, overlap, radii


@dataclass(frozen=True, eq=False)
class Yardstick:
    """Real pictures by their features, to measure samples against."""

    reference: Features
    """[M, D] of the split that samples are compared with."""
    training: Features
    """[T, D] of the training split."""
    fresh: Floats
    """[F] distances of real pictures that were not trained on to the nearest of `training`."""
    classifier: Classifier | None
    """None: no classes."""

    @cached_property
    def gaussian(self) -> Gaussian:
        """Of the reference."""
        return gaussian(self.reference)

    @cached_property
    def balls(self) -> tuple[Floats, Floats]:
        """Radii of the reference."""
        return radii(self.reference, BALL), radii(self.reference, DENSE_BALL)

    def distances(self, features: Features) -> dict[str, float]:
        """What needs no label and no training picture: of samples, and of real pictures in their place, the floor."""
        return {
            "fd_enetlite0": frechet(gaussian(features), self.gaussian),
            "kid_enetlite0": kernel_distance(features, self.reference),
            **asdict(overlap(features, self.reference, self.balls)),
        }

    def measure(self, features: Features, classes: NDArray[np.int64] | None, away: Floats) -> dict[str, Any]:
        """All figures of samples [N, D].

        Args:
            features: of the samples.
            classes: [N] that were asked for; None: none were.
            away: [N] distances to the nearest of `training`.
        """
        return {
            **self.distances(features),
            **self.accuracy(features, classes),
            "copying": asdict(copying(away, self.fresh)),
        }

    def accuracy(self, features: Features, classes: NDArray[np.int64] | None) -> dict[str, Any]:
        """The share that the classifier takes for its class, over all and of the class where it is the least."""
        if self.classifier is None or classes is None:
            return {}
        right = self.classifier(features) == classes
        shares = {int(one): float(right[classes == one].mean()) for one in np.unique(classes)}
        worst = min(shares, key=lambda one: shares[one])
        return {"class_accuracy": float(right.mean()), "worst_class": worst, "worst_class_accuracy": shares[worst]}

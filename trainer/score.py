"""How near the samples of a checkpoint are to data it has not seen: what the best checkpoint is chosen by."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from export.runtime.grids import Step
from models.checkpoint import CheckpointConfig
from models.flow_map import FlowMap
from trainer.data.arrays import Split
from trainer.data.dataset import Dataset
from trainer.energy import energy_distance
from trainer.sampling import draw
from trainer.stream import as_z

SEED = 1_000_000
"""Of the first sample. Every checkpoint is scored from the same noise, so that their scores differ by the weights."""

SHARE = 10
"""At most one in so many training samples is held out, of a data set without a test split."""


def hold_out(dataset: Dataset, count: int) -> tuple[NDArray[np.int64] | None, Split | None]:
    """Rows to train on, and held-out samples to score `count` samples by: the test split, or else a part of training.

    That part is twice `count` rows, at most a tenth, drawn at random with a fixed seed: rows often lie sorted by class.
    It alone is copied. Without a score (`count` 0) nothing is held out.

    Returns:
        The rows of the training split to train on, in order, or None for all of them; and the samples.

    Raises:
        ValueError: there are too few samples to hold any out, or a class would be left without one.
    """
    if not count or dataset.test is not None:
        return None, dataset.test if count else None
    x, labels = dataset.train.x, dataset.train.labels
    off = "; --set run.score=0 does without"
    size = min(2 * count, len(x) // SHARE)
    if size < 4:
        raise ValueError(
            f"data set {dataset.name} has no test split and, with {len(x)} training samples, none to spare for "
            f"run.score{off}"
        )
    held = np.zeros(len(x), dtype=bool)
    held[np.random.default_rng(0).permutation(len(x))[:size]] = True
    if labels is not None and len(np.unique(labels[~held])) < len(dataset.classes):
        raise ValueError(f"data set {dataset.name} has a class too small to hold samples out for run.score{off}")
    return np.flatnonzero(~held), Split(x[held], None if labels is None else labels[held])


class Score:
    """The energy distance of samples to held-out data, beside that of held-out data to itself.

    Both are between pixels (latents, coordinates), as the network sees them: it is no FID, it does not know what a
    person looks at, and it compares checkpoints of one run. Samples get the labels of the real ones.

    Args:
        held_out: what `hold_out` gave.
        count: samples on each side; of a small `held_out`, half of it.
        config: of the checkpoints. The score is of the step count that they are for: the fewest, or, of a velocity, the
            most.
    """

    def __init__(self, held_out: Split, count: int, config: CheckpointConfig) -> None:
        counts = sorted(map(int, config.grids))
        self.steps = counts[-1] if config.span == "velocity" else counts[0]
        self.config = config
        self.count = min(count, len(held_out.x) // 2)
        rows = np.random.default_rng(SEED).permutation(len(held_out.x))[: 2 * self.count]
        rows = np.concatenate([np.sort(half) for half in np.split(rows, 2)])  # in order, since the disk has them so
        real = as_z(torch.from_numpy(np.ascontiguousarray(held_out.x[rows]))).numpy()
        self.real, other = np.split(real, 2)
        null = len(config.labels)
        labelled = held_out.labels is not None and null > 0
        self.labels = held_out.labels[rows[: self.count]].tolist() if labelled else [null] * self.count  # type: ignore[index]
        self.floor = energy_distance(self.real, other)

    def __call__(self, flow_map: FlowMap) -> dict[str, Any]:
        """The score of a network as it is now, for the log; {} where a sample is not finite."""
        grid = tuple(Step(*jump) for jump in self.config.grids[str(self.steps)])
        guidance = self.config.guidance.default if self.config.guidance else None
        samples = draw(flow_map, self.config.shape, grid, self.labels, SEED, guidance)
        if not np.isfinite(samples).all():  # the next step's loss tells it better
            return {}
        return {
            "energy_distance": energy_distance(samples, self.real),
            "floor": self.floor,
            "samples": self.count,
            "steps": self.steps,
            "seed": SEED,
            "of": "z against held-out data: pixels, not features; no FID",
        }


def best_of(rows: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The row of the log with the least energy distance, among those that were scored as the last one was."""
    scored = [row for row in rows if row.get("score")]
    if not scored:
        return None
    same = [row for row in scored if _measure(row["score"]) == _measure(scored[-1]["score"])]
    return min(same, key=lambda row: (row["score"]["energy_distance"], -row["step"]))


def _measure(score: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in score.items() if key != "energy_distance"}

"""The score of a checkpoint grows with what is wrong with its samples; samples of the law itself score the floor."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from trainer.data.dataset import open_dataset
from trainer.energy import energy_distance
from trainer.processes import Processes
from trainer.score import Score, best_of, hold_out
from trainer.shard import Shard
from trainer.stream import Stream
from trainer.training import Training

Points = NDArray[np.float64]


@pytest.fixture(scope="module")
def real() -> Points:
    """600 points in R^3 of two clusters."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(600, 3)) * 0.5 + np.where(rng.random((600, 1)) < 0.3, -2.0, 1.0)


@pytest.fixture(scope="module")
def more(real: Points) -> Points:
    """Others of the same law."""
    rng = np.random.default_rng(1)
    return rng.normal(size=(600, 3)) * 0.5 + np.where(rng.random((600, 1)) < 0.3, -2.0, 1.0)


SPOILT: dict[str, Any] = {
    "shifted": lambda x: x + 0.3,
    "shrunk": lambda x: 0.8 * x,
    "one copied": lambda x: np.repeat(x[:1], len(x), axis=0),
    "few copied": lambda x: np.resize(x[:6], x.shape),
    "a cluster is missing": lambda x: x[x[:, 0] > 0],
    "noisy": lambda x: x + np.random.default_rng(2).normal(size=x.shape),
}


@pytest.mark.parametrize("fault", SPOILT)
def test_fault_is_not_seen(real: Points, more: Points, fault: str) -> None:
    assert energy_distance(SPOILT[fault](more), real) > 2 * energy_distance(more, real)


@pytest.mark.parametrize("size", [0.1, 0.3, 0.9])
def test_larger_fault_scores_better(real: Points, more: Points, size: float) -> None:
    assert energy_distance(more + size, real) < energy_distance(more + 2 * size, real)


def test_same_points_are_apart(real: Points) -> None:
    """0 for one set, in whatever order; positive and symmetric for two; it has the units of the points."""
    assert energy_distance(real, real[::-1]) == pytest.approx(0, abs=1e-12)
    one, other = real[:50], real[50:120]
    assert energy_distance(one, other) == pytest.approx(energy_distance(other, one))
    assert energy_distance(one, other) > 0
    assert energy_distance(7 * one, 7 * other) == pytest.approx(7 * energy_distance(one, other))


def test_distance_is_not_that_of_the_definition() -> None:
    """By hand: x = {0, 1}, y = {3}: 2 (3 + 2)/2 - (0 + 1 + 1 + 0)/4 - 0."""
    assert energy_distance([[0.0], [1.0]], [[3.0]]) == pytest.approx(4.5)


@pytest.mark.parametrize(
    ("x", "y"), [([[0.0]], [[0.0, 1.0]]), (np.zeros((0, 1)), [[0.0]]), ([[np.nan]], [[0.0]]), ([[0.0]], [[np.inf]])]
)
def test_nonsense_has_a_distance(x: Any, y: Any) -> None:
    with pytest.raises(ValueError, match=r"shape|finite"):
        energy_distance(x, y)


def test_floor_is_not_the_expected_one(real: Points) -> None:
    """Over many pairs of sets of N points of one law the mean is E|X - X'| 2/N."""
    rng, size = np.random.default_rng(3), 40
    found = [energy_distance(*np.split(rng.normal(size=(2 * size, 1)), 2)) for _ in range(400)]
    assert np.mean(found) == pytest.approx(2 / size * 2 / np.sqrt(np.pi), rel=0.15)


def test_scored_data_are_trained_on(plane: Any) -> None:
    """Without a test split a part of training is held out: the same one every time, and only where a score is asked."""
    dataset = open_dataset(plane)
    assert hold_out(dataset, 0) == (None, None)
    rows, held = hold_out(dataset, 2)
    assert rows is not None
    assert held is not None
    assert (len(rows), len(held.x)) == (44, 4)
    x = np.concatenate([dataset.train.x[rows], held.x])
    assert sorted(map(tuple, x.tolist())) == sorted(map(tuple, dataset.train.x.tolist()))
    again, _ = hold_out(dataset, 2)
    assert np.array_equal(again, rows)


def test_test_split_is_passed_over(plane: Any) -> None:
    dataset = open_dataset(plane)
    dataset = dataclasses.replace(dataset, test=dataset.train)
    assert hold_out(dataset, 2) == (None, dataset.test)


def test_one_class_is_held_out(tmp_path: Any) -> None:
    """Rows often lie sorted by class. Those at the end, say, would be of one class only (negative control)."""
    labels = np.repeat(np.arange(4), 50)
    np.savez(tmp_path / "sorted.npz", x=labels[:, None].astype(np.float32), labels=labels)
    dataset = open_dataset(tmp_path / "sorted.npz")
    _, held = hold_out(dataset, 10)
    assert held is not None
    assert held.labels is not None
    assert set(held.labels.tolist()) == {0, 1, 2, 3}
    assert np.array_equal(held.x[:, 0], held.labels)
    assert len(set(labels[-len(held.x) :].tolist())) == 1


@pytest.mark.parametrize("placement", ["device", "host"])
@pytest.mark.parametrize("balance", [False, True])
def test_held_out_row_is_trained_on(plane: Any, placement: Any, balance: bool) -> None:
    """A stream of the other rows meets all of them, with their labels, and none that is held out; nothing is copied."""
    dataset = open_dataset(plane)
    rows, held = hold_out(dataset, 2)
    assert rows is not None
    assert held is not None
    stream = Stream(dataset, 4, 0, torch.device("cpu"), rows=rows, placement=placement, balance=balance)
    assert np.shares_memory(stream.x.numpy(), dataset.train.x)
    labels = {tuple(x): label for x, label in zip(dataset.train.x.tolist(), dataset.train.labels.tolist(), strict=True)}
    met = set()
    for step in range(1, 41):
        x, label = stream.fetch(step, Shard())
        assert [labels[tuple(point)] for point in x.tolist()] == label.tolist()
        met |= set(map(tuple, x.tolist()))
    assert met == {tuple(point) for point in dataset.train.x[rows].tolist()}
    assert not met & {tuple(point) for point in held.x.tolist()}


def test_small_set_is_emptied(points: Any, tmp_path: Any) -> None:
    np.savez(tmp_path / "few.npz", x=np.zeros((30, 1), dtype=np.float32))
    with pytest.raises(ValueError, match=r"few has no test split and, with 30 .* --set run.score=0 does without"):
        hold_out(open_dataset(tmp_path / "few.npz"), 10)


def test_score_depends_on_more_than_the_weights(points: Any, tiny: Any) -> None:
    """Twice the same bits; the floor does not move with the weights; worse weights score worse."""
    training = Training(tiny("points/flow-matching", "run.score=2"), open_dataset(points), Processes("cpu"))
    assert training.held_out is not None
    score = Score(training.held_out, 2, training.config)
    assert score.steps == 2  # a velocity is for the most steps
    first = score(training.flow_map)
    assert first == score(training.flow_map)
    with torch.no_grad():
        for weight in training.flow_map.parameters():
            weight.add_(0.5)
    second = score(training.flow_map)
    assert second["floor"] == first["floor"]
    assert second["energy_distance"] > first["energy_distance"]
    with torch.no_grad():
        for weight in training.flow_map.parameters():
            weight.fill_(float("nan"))
    assert score(training.flow_map) == {}


def row(step: int, distance: float | None, samples: int = 8) -> dict[str, Any]:
    return {"step": step} if distance is None else {
        "step": step,
        "score": {"energy_distance": distance, "floor": 0.1, "samples": samples},
    }  # fmt: skip


def test_other_measure_decides() -> None:
    """Scores by other numbers of samples are not compared; of equals the later one is the best."""
    assert best_of([]) is None
    assert best_of([row(1, None)]) is None
    assert best_of([row(1, 0.2), row(2, 0.1), row(3, 0.3), row(4, None)]) == row(2, 0.1)
    assert best_of([row(1, 0.1, samples=4), row(2, 0.3), row(3, 0.2)]) == row(3, 0.2)
    assert best_of([row(1, 0.1), row(2, 0.1)]) == row(2, 0.1)

"""A step's batch is the same whole, in pieces, and shared: noise, dropped labels, times, and whatever is drawn."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from trainer.augment import Augment
from trainer.batches import Batches
from trainer.data.dataset import open_dataset
from trainer.objectives import methods
from trainer.objectives.parts.moment import Moment
from trainer.objectives.parts.objective import Draws, Objective
from trainer.objectives.parts.target import Batch
from trainer.seeds import step_seed
from trainer.shard import Shard
from trainer.stream import Stream

ROWS = 8
Make = Callable[..., Batches]


@pytest.fixture
def batches(grey: Path) -> Make:
    """`batches(objective, probability)`: of 8 pictures 8x8 in two classes, augmented with some probability."""

    def make(objective: Objective, probability: float = 0.0, seed: int = 0) -> Batches:
        stream = Stream(open_dataset(grey), ROWS, seed, torch.device("cpu"))
        return Batches(stream, objective, Augment(probability=probability), ROWS, (1, 8, 8), seed)

    return make


def tensors(batch: Batch, draws: Draws) -> dict[str, Tensor]:
    found = {"x0": batch.x0, "x1": batch.x1, "dropped": batch.dropped}
    for part in (batch.condition, draws):
        found |= {field.name: getattr(part, field.name) for field in dataclasses.fields(part)}
    return {name: value for name, value in found.items() if isinstance(value, Tensor)}


@pytest.mark.parametrize("method", methods())
@pytest.mark.parametrize("count", [2, 4, 8])
def test_shards_are_not_the_rows_of_the_batch(batches: Make, method: str, count: int) -> None:
    """As other processes would draw them, out of order: each shard from a stream of its own."""
    objective = methods()[method]()
    (whole,) = batches(objective, 0.5).draw(Moment(5, 300), [Shard()])
    for index in reversed(range(count)):
        shard = Shard(index, count)
        (part,) = batches(objective, 0.5).draw(Moment(5, 300), [shard])
        expected = tensors(*whole)
        for name, value in tensors(*part).items():
            assert torch.equal(value, shard.rows(expected[name])), name
        assert part[1].jumps == shard.count_of(whole[1].jumps)


def test_jumps_are_shared_unevenly(batches: Make) -> None:
    """A quarter of 8 rows jumps: one each in two shards, and in none of them behind a row that does not."""
    parts = [part for _, part in batches(methods()["meanflow"]()).draw(Moment(1, 300), [Shard(0, 2), Shard(1, 2)])]
    assert [part.jumps for part in parts] == [1, 1]
    assert all((part.s < part.t).tolist() == [True, False, False, False] for part in parts)


def test_noise_repeats(batches: Make) -> None:
    """Every step and every seed has noise of its own, and the same at each asking."""
    objective = methods()["flow-matching"]()
    drawn = [
        next(batches(objective, seed=seed).draw(Moment(step, 300), [Shard()]))
        for seed, step in ((0, 1), (0, 2), (1, 1), (0, 1))
    ]
    noise = [batch.x1 for batch, _ in drawn]
    assert torch.equal(noise[0], noise[3])
    assert not any(torch.equal(noise[0], other) for other in noise[1:3])


def test_masks_follow_the_noise() -> None:
    """Dropout of every piece has a seed that no other piece, step or draw of a batch has."""
    places = [(step,) for step in range(1, 9)] + [(step, index) for step in range(1, 9) for index in range(4)]
    assert len({step_seed(0, *place) for place in places}) == len(places)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5])
def test_labels_dropped_at_another_rate(batches: Make, share: float) -> None:
    """A dropped row has the null label, 2; the others keep a label; the share is met within four standard errors."""
    source = batches(methods()["flow-matching"](label_dropout=share))
    drawn = [next(source.draw(Moment(step, 300), [Shard()]))[0] for step in range(1, 301)]
    dropped = torch.cat([batch.dropped for batch in drawn])
    label = torch.cat([batch.condition.label for batch in drawn])
    assert torch.equal(label == 2, dropped)
    assert abs(dropped.float().mean() - share) <= 4 * (share * (1 - share) / len(dropped)) ** 0.5

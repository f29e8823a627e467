"""The stream of batches: each epoch shows each sample once, with its own label, as a function of (seed, step) alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch

from trainer.augment import Augment
from trainer.batches import Batches
from trainer.data.arrays import Split
from trainer.data.dataset import Dataset, open_dataset
from trainer.objectives.flow_matching import FlowMatching
from trainer.objectives.parts.moment import Moment
from trainer.shard import Shard
from trainer.stream import AHEAD, Stream, as_z, z_shape

CPU = torch.device("cpu")


def numbered(count: int, classes: int = 3, kind: str = "points") -> Dataset:
    """Sample i is the number i (or a picture of it), its label i % classes."""
    index = np.arange(count)
    x = index[:, None].astype(np.float32) if kind == "points" else np.tile(index.astype(np.uint8), (3, 2, 4, 1)).T
    labels = index % classes if classes else None
    names = [str(label) for label in range(classes)]
    return Dataset("numbers", kind, names, Split(x, labels), None, {}, "0" * 64)  # type: ignore[arg-type]


@pytest.mark.parametrize(("count", "batch"), [(24, 6), (24, 24), (26, 6), (7, 7), (5, 1)])
def test_sample_is_seen_twice_or_never(count: int, batch: int) -> None:
    """Of the last partial batch, which is left out, another part in each epoch."""
    stream = Stream(numbered(count), batch, seed=5, device=CPU)
    per_epoch = count // batch
    orders = []
    for epoch in range(3):
        steps = range(epoch * per_epoch + 1, (epoch + 1) * per_epoch + 1)
        seen = torch.cat([stream.rows(step) for step in steps]).tolist()
        assert len(seen) == per_epoch * batch
        assert len(set(seen)) == len(seen)
        assert set(seen) <= set(range(count))
        orders.append(seen)
    assert orders[0] != orders[1] != orders[2]


def test_order_depends_on_the_past() -> None:
    """A resumed run asks for step 9 first: it must see what the uninterrupted one saw."""
    one, other = (Stream(numbered(26), 6, seed=5, device=CPU) for _ in range(2))
    straight = {step: one.rows(step).tolist() for step in range(1, 13)}
    for step in (9, 2, 12, 1, 9):
        assert other.rows(step).tolist() == straight[step]
    third = Stream(numbered(26), 6, seed=6, device=CPU)
    assert {step: third.rows(step).tolist() for step in range(1, 13)} != straight


def batches(count: int, batch: int, rate: float) -> Batches:
    objective = FlowMatching(method="flow-matching", label_dropout=rate)
    return Batches(Stream(numbered(count), batch, seed=0, device=CPU), objective, Augment(), batch, (1,), seed=0)


@pytest.mark.parametrize("placement", ["device", "host"])
def test_label_of_another_sample(placement: Literal["device", "host"]) -> None:
    stream = Stream(numbered(30), 10, seed=0, device=CPU, placement=placement)
    for step in range(1, 7):
        x0, label = stream.fetch(step, Shard())
        assert torch.equal(x0[:, 0].long(), stream.rows(step))
        assert torch.equal(x0[:, 0].long() % 3, label)


@pytest.mark.parametrize("kind", ["points", "image"])
def test_placement_changes_a_byte(kind: str) -> None:
    """From the host's memory come the same bytes in any order of asking: straight on, back, far ahead, in pieces."""
    device, host = (
        Stream(numbered(26, kind=kind), 6, seed=5, device=CPU, placement=placement)  # type: ignore[arg-type]
        for placement in ("device", "host")
    )
    asked = [(step, Shard(piece, 3)) for step in (1, 2, 3, 4, 2, 2, 40, 41, 9) for piece in (0, 1, 2)]
    for step, shard in [*asked, (9, Shard(1, 2)), (10, Shard()), (11, Shard(0, 6))]:
        expected, found = device.fetch(step, shard), host.fetch(step, shard)
        assert torch.equal(expected[0], found[0])
        assert torch.equal(expected[1], found[1])
        assert found[0].dtype == torch.float32
        assert found[1].dtype == torch.int64


def test_prefetch_has_no_bound() -> None:
    """However often one jumps about, what waits is at most a few steps of each shard."""
    stream = Stream(numbered(24), 6, seed=5, device=CPU, placement="host")
    assert stream._prefetch is not None
    for step in (1, 2, 100, 3, 7, 1000, 1001):
        for shard in (Shard(0, 2), Shard(1, 2)):
            stream.fetch(step, shard)
            assert len(stream._prefetch.waiting) <= 2 * (AHEAD + 1)
    assert {step for step, _ in stream._prefetch.waiting} == set(range(1002, 1002 + AHEAD))


def test_shards_are_another_batch() -> None:
    whole, _ = Stream(numbered(26), 6, seed=5, device=CPU).fetch(3, Shard())
    pieces = Stream(numbered(26), 6, seed=5, device=CPU)
    for piece in range(4):
        assert torch.equal(pieces.fetch(3, Shard(piece, 4))[0], whole[piece::4])


def unbalanced(sizes: Sequence[int]) -> Dataset:
    """Sample i is the number i; class k has sizes[k] samples, the classes mixed."""
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)), sizes))
    x = np.arange(len(labels))[:, None].astype(np.float32)
    return Dataset("mixed", "points", [str(k) for k in range(len(sizes))], Split(x, labels), None, {}, "0" * 64)


@pytest.mark.parametrize("sizes", [(2, 30, 68), (1, 1, 5), (40, 40, 40), (3, 200)])
@pytest.mark.parametrize("batch", [7, 4])
def test_small_class_is_seen_too_seldom(sizes: tuple[int, ...], batch: int) -> None:
    """Each class has its share of each epoch, to within one draw, and shows all its samples before any repeats."""
    dataset = unbalanced(sizes)
    assert dataset.train.labels is not None
    stream = Stream(dataset, batch, seed=3, device=CPU, balance=True)
    per_epoch = len(dataset.train.x) // batch
    whole = []
    for epoch in range(4):
        steps = range(epoch * per_epoch + 1, (epoch + 1) * per_epoch + 1)
        rows = torch.cat([stream.rows(step) for step in steps]).numpy()
        counts = np.bincount(dataset.train.labels[rows], minlength=len(sizes))
        assert np.ptp(counts) <= 1
        assert counts.sum() == per_epoch * batch
        whole.append(rows)
    for label, size in enumerate(sizes):
        seen = np.bincount(np.concatenate(whole), minlength=len(dataset.train.x))[dataset.train.labels == label]
        assert np.ptp(seen) <= 1, f"of {size} samples some came more often than others"
    plain = Stream(dataset, batch, seed=3, device=CPU)
    drawn = np.bincount(dataset.train.labels[plain.rows(1).numpy()], minlength=len(sizes))
    assert sizes == (40, 40, 40) or np.ptp(drawn) > 1, "the control: without balance the large class prevails"


def test_balanced_order_depends_on_the_past() -> None:
    one, other = (Stream(unbalanced((2, 9, 30)), 6, seed=5, device=CPU, balance=True) for _ in range(2))
    straight = {step: one.rows(step).tolist() for step in range(1, 25)}
    for step in (19, 2, 24, 1, 19):
        assert other.rows(step).tolist() == straight[step]
    third = Stream(unbalanced((2, 9, 30)), 6, seed=6, device=CPU, balance=True)
    assert {step: third.rows(step).tolist() for step in range(1, 25)} != straight


def test_classes_come_in_blocks() -> None:
    """Within an epoch the classes are mixed: the first half has about as many of each as the second."""
    stream = Stream(unbalanced((500, 500)), 10, seed=0, device=CPU, balance=True)
    labels = torch.cat([stream.fetch(step, Shard())[1] for step in range(1, 51)])
    assert labels.float().mean().item() == pytest.approx(0.5, abs=4 * 0.5 / 500**0.5)


def test_nothing_to_balance_is_balanced() -> None:
    with pytest.raises(ValueError, match="numbers has no labels, so its classes cannot be balanced"):
        Stream(numbered(10, classes=0), 5, seed=0, device=CPU, balance=True)


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5])
def test_labels_dropped_at_another_rate(rate: float) -> None:
    """A dropped label is the null label, index K; the share is the stated one within 4 standard errors."""
    drawing, dropped = batches(1000, 1000, rate), []
    for step in range(1, 41):
        ((batch, _),) = drawing.draw(Moment(step, 300), [Shard()])
        assert torch.equal(batch.condition.label == 3, batch.dropped)
        dropped.append(batch.dropped)
    found, tolerance = torch.cat(dropped).float().mean().item(), 4 * (rate * (1 - rate) / 40_000) ** 0.5
    assert found == pytest.approx(rate, abs=tolerance)
    assert not torch.equal(dropped[0], dropped[1]) or rate == 0


@pytest.mark.parametrize("placement", ["device", "host"])
def test_unlabelled_data_has_a_class(points: Path, placement: Literal["device", "host"]) -> None:
    """Without classes every sample has the null label, 0."""
    stream = Stream(open_dataset(points), 16, seed=0, device=CPU, placement=placement)
    assert stream.null_label == 0
    _, label = stream.fetch(1, Shard())
    assert label.dtype == torch.int64
    assert not label.any()


def test_noise_repeats() -> None:
    drawing = batches(4000, 4000, 0.1)
    first, second = (next(iter(drawing.draw(Moment(step, 300), [Shard()])))[0] for step in (1, 2))
    assert not torch.equal(first.x1, second.x1)
    assert first.x1.mean().item() == pytest.approx(0, abs=4 / 4000**0.5)
    assert first.x1.std().item() == pytest.approx(1, abs=4 / 8000**0.5)


def test_too_large_a_batch_is_drawn() -> None:
    with pytest.raises(ValueError, match="numbers has 7 training samples, fewer than a batch of 8"):
        Stream(numbered(7), 8, seed=0, device=CPU)


def test_pixels_leave_their_range() -> None:
    """uint8 [B, H, W, C] 0..255 to float32 [B, C, H, W] -1..1, exactly what the decode graph undoes."""
    stored = torch.tensor([0, 51, 204, 255], dtype=torch.uint8).reshape(1, 2, 2, 1).expand(3, 2, 2, 3)
    z = as_z(stored)
    assert z.shape == (3, 3, 2, 2)
    assert z.dtype == torch.float32
    torch.testing.assert_close(z[0, 0].flatten(), torch.tensor([-1.0, -0.6, 0.6, 1.0]))
    everything = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16, 1)
    assert torch.equal((127.5 * as_z(everything) + 127.5).round().to(torch.uint8).permute(0, 2, 3, 1), everything)


def test_rows_and_columns_swap(grey: Path) -> None:
    images = np.zeros((5, 2, 4, 3), dtype=np.uint8)
    images[:, 1, 3, 2] = 255
    dataset = Dataset("oblong", "image", [], Split(images, None), None, {}, "0" * 64)
    assert z_shape(dataset) == (3, 2, 4)
    z = as_z(torch.from_numpy(images))
    assert z[0, 2, 1, 3] == 1
    assert z.sum() == 5 * (2 - 3 * 2 * 4)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_latents_are_taken_for_pictures(dtype: type) -> None:
    """Latents [N, C, H, W] keep their shape and scale."""
    latents = np.random.default_rng(0).normal(size=(5, 4, 2, 6)).astype(dtype)
    dataset = Dataset("codes", "image", [], Split(latents, None), None, {}, "0" * 64)
    assert z_shape(dataset) == (4, 2, 6)
    x0, _ = Stream(dataset, 5, seed=0, device=CPU).fetch(1, Shard())
    assert x0.dtype == torch.float32
    assert torch.equal(x0.sort(0).values, torch.from_numpy(latents).float().sort(0).values)


def test_points_are_scaled() -> None:
    x = torch.tensor([[300.0], [-2.5]])
    assert torch.equal(as_z(x), x)


def test_shape_of_points(data_for: Callable[[str], Dataset]) -> None:
    assert z_shape(data_for("points/meanflow")) == (1,)
    assert z_shape(data_for("facets/meanflow")) == (1, 8, 8)

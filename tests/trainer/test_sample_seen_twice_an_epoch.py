"""The stream of batches: each epoch shows each sample once, with its own label, as a function of (seed, step) alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from trainer.data.arrays import Split
from trainer.data.dataset import Dataset, open_dataset
from trainer.stream import Stream, as_z, z_shape

CPU = torch.device("cpu")


def numbered(count: int, classes: int = 3, kind: str = "points") -> Dataset:
    """Sample i is the number i (or a picture of it), its label i % classes."""
    index = np.arange(count)
    x = index[:, None].astype(np.float32) if kind == "points" else np.tile(index.astype(np.uint8), (3, 2, 4, 1)).T
    labels = index % classes if classes else None
    names = [str(label) for label in range(classes)]
    return Dataset("numbers", kind, names, Split(x, labels), None, {}, "0" * 64)  # type: ignore[arg-type]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


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


def test_label_of_another_sample() -> None:
    stream = Stream(numbered(30), 10, seed=0, device=CPU)
    for step in range(1, 7):
        batch = stream.draw(step, 0.0, generator(step))
        assert torch.equal(batch.x0[:, 0].long() % 3, batch.label)
        assert not batch.dropped.any()


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5])
def test_labels_dropped_at_another_rate(rate: float) -> None:
    """A dropped label is the null label, index K; the share is the stated one within 4 standard errors."""
    stream, draw = Stream(numbered(1000), 1000, seed=0, device=CPU), generator()
    dropped = []
    for step in range(1, 41):
        batch = stream.draw(step, rate, draw)
        assert torch.equal(batch.label == 3, batch.dropped)
        dropped.append(batch.dropped)
    found, tolerance = torch.cat(dropped).float().mean().item(), 4 * (rate * (1 - rate) / 40_000) ** 0.5
    assert found == pytest.approx(rate, abs=tolerance)
    assert not torch.equal(dropped[0], dropped[1]) or rate == 0


def test_unlabelled_data_has_a_class(points: Path) -> None:
    """Without classes every sample has the null label, 0."""
    stream = Stream(open_dataset(points), 16, seed=0, device=CPU)
    assert stream.null_label == 0
    batch = stream.draw(1, 0.5, generator())
    assert batch.label.dtype == torch.int64
    assert not batch.label.any()


def test_noise_repeats() -> None:
    stream, draw = Stream(numbered(4000), 4000, seed=0, device=CPU), generator()
    first, second = stream.draw(1, 0.1, draw), stream.draw(2, 0.1, draw)
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


def test_points_are_scaled() -> None:
    x = torch.tensor([[300.0], [-2.5]])
    assert torch.equal(as_z(x), x)


def test_shape_of_points(data_for: Callable[[str], Dataset]) -> None:
    assert z_shape(data_for("points/meanflow")) == (1,)
    assert z_shape(data_for("facets/meanflow")) == (1, 8, 8)

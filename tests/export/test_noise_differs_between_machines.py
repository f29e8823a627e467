"""The noise is pinned three ways: golden values, an independent Philox, and the quantiles' definition."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from scipy.special import ndtri

from export.runtime.noise import LABEL_STEP, SEED_BOUND, draw_label, normal, quantile_table

GOLDEN = {
    (0, 0): [1.0199450254440308, -1.815329670906067, 0.6070646643638611, -2.2719993591308594, 0.7462935447692871],
    (7, 0): [2.1195695400238037, -0.9792866706848145, -0.8205888867378235, 1.1362687349319458, -0.6679975986480713],
    (7, 1): [-0.16608791053295135, 0.6683322787284851, -0.3956441581249237, 1.1874208450317383, -0.8967969417572021],
    (2**63 - 1, 3): [
        0.424266517162323,
        -0.09344207495450974,
        -0.5701318979263306,
        1.3647949695587158,
        0.2720699608325958,
    ],
}
GOLDEN_SHA256 = "c5595eca89545d7350bdb5c86d75806044e58bd15377fbdc8538866715e620cf"
GOLDEN_LABELS = [7, 8, 15, 15, 15, 12, 1, 5, 14, 11, 0, 13]


@pytest.mark.parametrize(("key", "expected"), GOLDEN.items())
def test_golden_values(key: tuple[int, int], expected: list[float]) -> None:
    assert normal(*key, (5,)).tolist() == expected


def test_golden_image() -> None:
    noise = normal(7, 0, (3, 32, 32))
    assert noise.dtype == np.float32
    assert hashlib.sha256(noise.astype("<f4").tobytes()).hexdigest() == GOLDEN_SHA256


def test_golden_labels() -> None:
    assert [draw_label(seed, 16) for seed in range(12)] == GOLDEN_LABELS


def philox(counter: tuple[int, ...], key: tuple[int, int]) -> list[int]:
    """Philox4x64-10 (Salmon et al., SC 2011) in plain integers."""
    c, k, mask = list(counter), list(key), 2**64 - 1
    for _ in range(10):
        high0, low0 = divmod(0xD2E7470EE14C6C93 * c[0], 2**64)
        high1, low1 = divmod(0xCA5A826395121157 * c[2], 2**64)
        c = [high1 ^ c[1] ^ k[0], low1, high0 ^ c[3] ^ k[1], low0]
        k = [(k[0] + 0x9E3779B97F4A7C15) & mask, (k[1] + 0xBB67AE8584CAA73B) & mask]
    return c


def by_hand(seed: int, step: int, count: int, key_swapped: bool = False, high_word_first: bool = False) -> list[float]:
    """The noise as noise.py's docstring describes it, without numpy's generator."""
    key = (step, seed) if key_swapped else (seed, step)
    table = ndtri((np.arange(65536) + 0.5) / 65536).astype(np.float32)
    values: list[float] = []
    for block in range(-(-count // 16)):
        for word in philox((block + 1, 0, 0, 0), key):
            shifts = (48, 32, 16, 0) if high_word_first else (0, 16, 32, 48)
            values += [float(table[word >> shift & 0xFFFF]) for shift in shifts]
    return values[:count]


def test_equals_the_description() -> None:
    assert normal(2**40 + 9, 5, (3, 11)).ravel().tolist() == by_hand(2**40 + 9, 5, 33)


@pytest.mark.parametrize("mistake", ["key_swapped", "high_word_first"])
def test_a_wrong_reading_of_the_description_is_seen(mistake: str) -> None:
    assert normal(2**40 + 9, 5, (33,)).tolist() != by_hand(2**40 + 9, 5, 33, **{mistake: True})


def test_table_is_ndtri() -> None:
    table = quantile_table()
    expected = ndtri((np.arange(65536) + 0.5) / 65536)
    assert table.dtype == np.float32
    # To the last bit but one: scipy may round its own last bit otherwise on another machine.
    np.testing.assert_array_max_ulp(table, expected.astype(np.float32), maxulp=1)
    assert np.array_equal(table, -table[::-1])
    assert abs(table.astype(np.float64).var() - 1) < 3e-5


def test_a_shape_is_only_a_view_of_the_stream() -> None:
    long = normal(3, 2, (1000,))
    for shape in ((1,), (7,), (3, 5), (2, 3, 4)):
        count = int(np.prod(shape))
        assert np.array_equal(normal(3, 2, shape), long[:count].reshape(shape))


def test_out_gets_the_same_values() -> None:
    rows = np.zeros((2, 3, 5), dtype=np.float32)
    normal(11, 0, (3, 5), out=rows[1])
    assert np.array_equal(rows[1], normal(11, 0, (3, 5)))
    assert not rows[0].any()
    with pytest.raises(ValueError, match="contiguous float32"):
        normal(11, 0, (3, 5), out=rows[:, :, 0])


def test_threads_do_not_mix_streams() -> None:
    expected = [normal(seed, 0, (257,)).tobytes() for seed in range(200)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda seed: normal(seed, 0, (257,)).tobytes(), range(200))) == expected


def test_labels_are_even_and_have_their_own_stream() -> None:
    counts = np.bincount([draw_label(seed, 5) for seed in range(5000)], minlength=5)
    assert len(counts) == 5
    assert np.abs(counts - 1000).max() < 4 * np.sqrt(1000 * 0.8)
    assert draw_label(99, 0) == 0
    assert draw_label(4, 2**64) == philox((1, 0, 0, 0), (4, LABEL_STEP))[0]


@pytest.mark.parametrize("seed", [-1, SEED_BOUND])
def test_a_seed_out_of_range_is_named(seed: int) -> None:
    with pytest.raises(ValueError, match=f"seed {seed} is outside"):
        normal(seed, 0, (1,))

"""The metrics are those that everybody means by their names.

The figures of the clouds below are torch-fidelity 0.4.0's (Apache-2.0), from `fid_features_to_statistics` and
`fid_statistics_to_metric`, `kid_features_to_metric` with one subset of all 300 rows, and `prc_features_to_metric`,
given the same float64 arrays. It is not installed here: it cannot be imported without torchvision, of which PyPI has no
build for a CPU's torch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from trainer.evaluate.distances import frechet, gaussian, kernel_distance
from trainer.evaluate.neighbours import DENSE_BALL, nearest, overlap, radii


@pytest.fixture
def cloud(uniform: Callable[..., Any]) -> Callable[..., Any]:
    """`cloud(key, n)`: n points in 12 dimensions, nearly Gaussian, of growing widths."""
    return lambda key, n: (uniform(key, (n, 12, 4)).sum(2) - 2) * (1 + np.arange(12) / 12)


def test_distances_differ_from_torch_fidelity(cloud: Callable[..., Any]) -> None:
    samples, fewer, real = cloud(11, 300) * 0.8 + 0.3, cloud(13, 170) * 0.8 + 0.3, cloud(12, 300)
    assert frechet(gaussian(samples), gaussian(real)) == pytest.approx(1.7188057774658283, rel=1e-9)
    assert frechet(gaussian(fewer), gaussian(real)) == pytest.approx(1.8642422960585758, rel=1e-9)
    assert kernel_distance(samples, real) == pytest.approx(0.3453412978936732, rel=1e-9)


def test_overlap_differs_from_torch_fidelity(cloud: Callable[..., Any]) -> None:
    samples, fewer, real = cloud(11, 300) * 0.8 + 0.3, cloud(13, 170) * 0.8 + 0.3, cloud(12, 300)
    found = overlap(samples, real)
    assert (found.precision, found.recall) == pytest.approx((0.93, 0.43666666666), abs=1e-6)
    found = overlap(fewer, real)
    assert (found.precision, found.recall) == pytest.approx((0.92352938652, 0.47666665911), abs=1e-6)
    swapped = overlap(real, samples)
    assert swapped.precision < 0.6 < swapped.recall, "control: the sides are not the same"


def test_distances_miss_the_closed_form() -> None:
    """Two Gaussians with diagonal covariances: the sum of squared differences of means and of deviations."""
    first = gaussian([[-1.0, 0.0], [1.0, 0.0], [0.0, -2.0], [0.0, 2.0]])  # variances 2/3 and 8/3
    second = gaussian([[2.0, 0.0], [4.0, 0.0], [3.0, -1.0], [3.0, 1.0]])  # 2/3 and 2/3, mean 3
    wanted = 9 + ((8 / 3) ** 0.5 - (2 / 3) ** 0.5) ** 2
    assert frechet(first, second) == pytest.approx(wanted)
    assert frechet(first, first) == pytest.approx(0, abs=1e-9)


def test_density_and_coverage_miss_their_expectation(cloud: Callable[..., Any]) -> None:
    """Of one distribution and as many points: density 1, coverage as in Naeem et al., equation 9."""
    found = [overlap(cloud(100 + i, 200), cloud(200 + i, 200)) for i in range(10)]
    wanted = 1 - np.prod([(200 - i) / (400 - i) for i in range(1, DENSE_BALL + 1)])
    assert np.mean([one.coverage for one in found]) == pytest.approx(wanted, abs=0.01)
    assert np.mean([one.density for one in found]) == pytest.approx(1, abs=0.05)


def test_neighbours_are_not_the_nearest() -> None:
    line = np.array([[0.0], [1.0], [3.0], [7.0], [7.0]])
    assert radii(line, 1).tolist() == [1, 1, 4, 0, 0]
    places, distances = nearest([[2.4], [7.0]], line, 3)
    assert places[0].tolist() == [2, 1, 0]
    assert distances[0] == pytest.approx([0.36, 1.96, 5.76])
    assert distances[1, :2].tolist() == [0, 0], "what is equal is no distance away, whatever was rounded"
    with pytest.raises(ValueError, match="more than 5 points, not 5"):
        radii(line, 5)


def test_block_by_block_is_another_result(cloud: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    samples, real = cloud(1, 90), cloud(2, 70)
    whole = kernel_distance(samples, real), overlap(samples, real), nearest(samples, real, 4)
    monkeypatch.setattr("trainer.evaluate.distances.BLOCK", 17)
    monkeypatch.setattr("trainer.evaluate.neighbours.CELLS", 700)
    assert kernel_distance(samples, real) == pytest.approx(whole[0], rel=1e-9)
    assert overlap(samples, real) == whole[1]
    assert (nearest(samples, real, 4)[0] == whole[2][0]).all()

"""What is written must be read back the same, quantiles from its histograms included; other files are refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from loadtest import histogram
from loadtest.counts import quantile
from loadtest.environment import environment
from loadtest.result import read, write

from .test_late_client_is_believed import COUNT, summary


def test_run_is_read_back_the_same(tmp_path: Path) -> None:
    run = summary(np.random.default_rng(0).exponential(0.0005, COUNT))
    path = tmp_path / "run.json"
    write(run, path)
    assert read(path) == run
    assert [one.name for one in tmp_path.iterdir()] == ["run.json"]


def test_histograms_hold_what_the_quantiles_say() -> None:
    times = np.random.default_rng(0).lognormal(-3, 1, 20_000)
    described = histogram.describe(times)
    whole = histogram.decode(described.histogram)
    for q, value in ((0.5, described.p50), (0.9, described.p90), (0.99, described.p99), (0.999, described.p999)):
        assert value == pytest.approx(float(np.quantile(times, q, method="inverted_cdf")), rel=0.0011)
        assert histogram.at(whole, q) == value
    halves = [histogram.encode(histogram.recorded(part)) for part in (times[:5000], times[5000:])]
    assert quantile(halves, len(times), 0.99) == described.p99
    assert not described.too_few


def test_blocks_add_up_to_the_whole() -> None:
    run = summary(np.linspace(0, 0.05, COUNT))
    [one] = run.steps
    counts = [histogram.decode(block).get_total_count() for block in one.blocks]
    assert sum(counts) == one.latency.count == 1000
    assert quantile(one.blocks, 1000, 0.9) == one.latency.p90
    assert max(counts) - min(counts) <= 1


@pytest.mark.parametrize(("count", "too_few"), [(20, (0.9, 0.99, 0.999)), (999, (0.99, 0.999)), (10_000, ())])
def test_quantiles_with_few_samples_are_marked(count: int, too_few: tuple[float, ...]) -> None:
    assert histogram.describe(np.linspace(0.01, 0.02, count)).too_few == too_few


def test_nothing_is_described_as_nothing() -> None:
    described = histogram.describe([])
    assert (described.count, described.mean, described.p50, described.p999) == (0, None, None, None)
    assert histogram.at(histogram.decode(described.histogram), 0.5) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is not JSON"),
        ("[]", "holds no result, not a run"),
        ('{"kind": "sweep"}', "holds a sweep, not a run"),
        ('{"kind": "run", "format": 7}', "has format 7, and this version reads 1; read it with"),
        ('{"kind": "run", "format": 1}', "Field required"),
    ],
)
def test_other_file_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "run.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=said):
        read(path)


def test_keys_do_not_reach_the_result() -> None:
    command = ["loadtest", "run", "--header", "authorization: Bearer secret", "--header=x-key:secret", "--rate", "5"]
    kept = environment(command, datetime.now(UTC)).command
    assert "secret" not in json.dumps(kept)
    assert kept == ("loadtest", "run", "--header", "authorization: ***", "--header=x-key: ***", "--rate", "5")

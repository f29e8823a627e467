"""The file with measured costs spares a measurement, and whatever is wrong with it stops nothing."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from export.runtime.bundle import open_bundle
from server.schedule.costs import Costs
from server.worker.cost_cache import CostCache, default_folder, measure

from .conftest import Start
from .fake_worker import FakeEngine


def known(max_rows: int = 4) -> Costs:
    costs = Costs(max_rows)
    costs.observe(1, 0.25)
    costs.observe(4, 0.5)
    return costs


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    cache = CostCache(tmp_path / "new" / "folder", "abc", 2)
    assert cache.load(4) is None
    cache.save(known())
    loaded = cache.load(4)
    assert loaded is not None
    assert [loaded.tick_seconds(rows) for rows in (1, 4)] == [0.25, 0.5]
    assert CostCache(tmp_path / "new" / "folder", "abc", 1).load(4) is None, "another thread count is another device"
    assert CostCache(tmp_path / "new" / "folder", "abd", 2).load(4) is None
    assert [file.name for file in (tmp_path / "new" / "folder").iterdir()] == ["abc-2.json"], "nothing half-written"


def test_smaller_ticks_use_what_fits(tmp_path: Path) -> None:
    cache = CostCache(tmp_path, "abc", 2)
    cache.save(known())
    loaded = cache.load(2)
    assert loaded is not None
    assert loaded.max_rows == 2


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\xfe", b"[]", b"{}", b"[" * 100_000, json.dumps({"max_rows": 4, "ticks": {"1": [-1, 1]}}).encode()],
)
def test_foreign_file_is_ignored_and_replaced(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "abc-2.json").write_bytes(content)
    cache = CostCache(tmp_path, "abc", 2)
    assert cache.load(4) is None
    cache.save(known())
    assert cache.load(4) is not None


def test_folder_that_cannot_be_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for folder in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/none"), None):
        cache = CostCache(folder, "abc", 2)
        cache.save(known())
        assert cache.load(4) is None


def test_costs_that_were_never_measured_are_not_kept(tmp_path: Path) -> None:
    CostCache(tmp_path, "abc", 2).save(Costs(4))
    assert not list(tmp_path.iterdir())


def test_default_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONGJUMP_COST_CACHE", "/somewhere")
    assert default_folder() == Path("/somewhere")
    monkeypatch.setenv("LONGJUMP_COST_CACHE", "")
    assert default_folder() is None
    monkeypatch.delenv("LONGJUMP_COST_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert default_folder() == Path("/caches/longjump/costs")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert default_folder() == Path("/home/somebody/.cache/longjump/costs")


class Counting(FakeEngine):
    calls: list[int]

    def jump(self, z, t, s, label, guidance=None):  # type: ignore[no-untyped-def]
        self.calls.append(len(z))
        assert guidance is None or (guidance == np.float32(2.0)).all()
        return super().jump(z, t, s, label, guidance)


@pytest.mark.parametrize(("max_rows", "sizes"), [(1, [1]), (6, [1, 2, 4, 6]), (8, [1, 2, 4, 8])])
def test_measurement_ends_at_the_largest_tick(guided: Path, max_rows: int, sizes: list[int]) -> None:
    engine = Counting(open_bundle(guided))
    engine.calls = []
    costs = measure(engine, max_rows, seconds=60.0)
    assert sorted(set(engine.calls)) == sizes
    assert costs.known


def test_measurement_without_time_measures_one_row(images: Path) -> None:
    engine = Counting(open_bundle(images))
    engine.calls = []
    assert measure(engine, 16, seconds=0.0).known
    assert engine.calls == [1]


def test_server_starts_with_a_broken_cache_and_leaves_a_good_one(start: Start, images: Path, tmp_path: Path) -> None:
    folder = tmp_path / "costs"
    server = start(images, LONGJUMP_COST_CACHE=str(folder))
    assert server.client.post("/generate?steps=4").status_code == 200
    [file] = folder.iterdir()
    assert Costs.from_dict(json.loads(file.read_bytes())).known
    file.write_text("not costs")
    os.chmod(file, 0o400)
    again = start(images, LONGJUMP_COST_CACHE=str(folder))
    assert again.client.post("/generate?steps=4").status_code == 200
    assert Costs.from_dict(json.loads(file.read_bytes())).known

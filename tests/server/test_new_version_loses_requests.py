"""A bundle is replaced while it is served: each request is answered by one version or the other, and none is lost."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from export.wrap import wrap
from server.backend.line import Line, Setup
from server.backend.lines import AlreadyLoading, Lines
from server.backend.supervisor import Child, WorkerRefused, worker_command
from server.jobs import CancelStage, Result, Stopped
from server.schedule.admission import Bounds

from .conftest import GRIDS, PATIENCE, alive, jump_graph, make_job
from .wires import until

WORKER = (sys.executable, str(Path(__file__).with_name("fake_worker.py")))


class Silent:
    """An observer of workers that tells nobody."""

    def ticked(self, model: str, rows: int, seconds: float, padding: int) -> None: ...

    def restarted(self, model: str) -> None: ...

    def cancelled(self, stage: CancelStage) -> None: ...


@pytest.fixture(scope="module")
def next_version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another bundle with the name of `images`."""
    folder = tmp_path_factory.mktemp("next")
    graph = jump_graph(folder / "jump.onnx", (3, 8, 8))
    wrap(graph, folder / "tiny", z_shape=(3, 8, 8), labels=["cat", "dog", "elk"], span="any", grids=GRIDS)
    return folder / "tiny"


@asynccontextmanager
async def serving(folder: Path, tmp_path: Path, workers: int = 1) -> AsyncIterator[Lines]:
    """The lines of a server for one bundle, with workers that are processes and engines that are fakes."""

    def command(bundle: Path, number: int) -> list[str]:
        return worker_command(WORKER, bundle, 1, 4, tmp_path / "costs")

    setup = Setup(command, workers, 4, Bounds(1000, 10_000, 2**20), 60.0, 30.0, Silent(), lambda text: None)
    children = [Child(command(folder, number)) for number in range(workers)]
    lines = Lines([Line(children, folder, setup)], setup, retire_seconds=0.0)
    try:
        async with asyncio.timeout(PATIENCE):
            await lines.ready()
            yield lines
    finally:
        await lines.stop()


def ids(line: Line) -> list[int]:
    return [supervisor._child.process.pid for supervisor in line.supervisors]


def run(scenario: Callable[[], Any]) -> None:
    asyncio.run(scenario())


def test_new_version_takes_over_without_losing_a_request(images: Path, next_version: Path, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(images, tmp_path, workers=2) as lines:
            (old,), (first,) = lines.lines, lines.models
            loading = asyncio.create_task(lines.load(next_version))
            answered: list[tuple[str, Result]] = []
            numbers = iter(range(1, 1_000_000))

            async def ask_on(after: int) -> None:
                """Ask one thing after the other, until `after` of them were answered by the new version."""
                while after:
                    (model,) = lines.models
                    await asyncio.sleep(0)  # as between the reading of a request and its work
                    result = await (await lines.find(model).dispatch.submit(make_job(next(numbers), steps=4)))
                    answered.append((model.fingerprint, result))
                    after -= model is not first

            await asyncio.gather(*(ask_on(5) for _ in range(8)))
            new = await loading
            assert lines.lines == (new,)
            fingerprints = [fingerprint for fingerprint, _ in answered]
            assert set(fingerprints) == {first.fingerprint, new.model and new.model.fingerprint}
            assert fingerprints.count(first.fingerprint) > 8
            assert all(result.blobs[0].startswith(b"\x89PNG") for _, result in answered)
            await until(lambda: not any(map(alive, ids(old))))
            assert all(map(alive, ids(new)))
            with pytest.raises(Stopped, match="replaced"):
                lines.find(first)

    run(scenario)


def test_old_version_finishes_what_it_has(
    images: Path, next_version: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_GATE", str(tmp_path / "gate"))

    async def scenario() -> None:
        async with serving(images, tmp_path) as lines:
            (old,), (first,) = lines.lines, lines.models
            held = [await old.dispatch.submit(make_job(number)) for number in range(1, 20)]
            new = await lines.load(next_version)
            late = await lines.find(first).dispatch.submit(make_job(99))  # read before, and on its way until now
            assert lines.find(first) is old
            assert not any(answer.done() for answer in held)
            assert all(map(alive, ids(old)))
            (tmp_path / "gate").touch()
            assert len(await asyncio.gather(*held, late)) == 20
            assert lines.lines == (new,)

    run(scenario)


@pytest.mark.parametrize("how", ["missing", "flipped", "empty"])
def test_bundle_that_cannot_be_served_changes_nothing(
    images: Path, next_version: Path, tmp_path: Path, how: str
) -> None:
    broken = tmp_path / "broken"
    if how == "empty":
        broken.mkdir()
    else:
        shutil.copytree(next_version, broken)
        graph = broken / "jump.fp32.onnx"
        if how == "missing":
            graph.unlink()
        else:
            data = bytearray(graph.read_bytes())
            data[len(data) // 2] ^= 1
            graph.write_bytes(data)

    async def scenario() -> None:
        async with serving(images, tmp_path) as lines:
            before = lines.lines
            with pytest.raises(WorkerRefused):
                await lines.load(broken)
            assert lines.lines == before
            assert not [number for number in os.listdir("/proc") if str(broken) in command_of(number)]
            assert not lines.failed.done()
            assert (await (await before[0].dispatch.submit(make_job(1)))).blobs
            assert (await lines.load(next_version)).up  # a failed load is no obstacle to the next

    run(scenario)


def command_of(number: str) -> str:
    """The command line of a process; the bundle that a worker serves is in it. Other tests run workers meanwhile."""
    try:
        return Path(f"/proc/{number}/cmdline").read_text()
    except (OSError, UnicodeDecodeError):  # not a process, ended meanwhile, or not one of ours
        return ""


def test_two_loads_of_one_name_at_once_are_refused(images: Path, next_version: Path, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(images, tmp_path) as lines:
            loading = asyncio.create_task(lines.load(next_version))
            await asyncio.sleep(0)
            with pytest.raises(AlreadyLoading, match="tiny is being loaded"):
                await lines.load(images)
            await loading

    run(scenario)


def test_other_name_is_served_beside_the_first(images: Path, guided: Path, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(images, tmp_path) as lines:
            (first,) = lines.models
            await lines.load(guided)
            assert [model.name for model in lines.models] == [first.name, "guided"]
            assert lines.up

    run(scenario)


def test_server_that_stops_while_it_loads_leaves_no_process(
    images: Path, next_version: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with serving(images, tmp_path) as lines:
            monkeypatch.setenv("TEST_SLOW_START", "1")
            monkeypatch.setenv("TEST_GATE", str(tmp_path / "gate"))
            loading = asyncio.create_task(lines.load(next_version))
            await asyncio.sleep(0)
            (new,) = set(lines._running) - set(lines.lines)
            await lines.stop(patience=0.0)
            with pytest.raises(WorkerRefused, match="stopped"):
                await loading
            assert not any(map(alive, ids(new)))
            lines.draining = True
            with pytest.raises(Stopped):
                await lines.load(next_version)

    run(scenario)


def test_capacity_is_json_and_names_the_bounds(images: Path, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(images, tmp_path, workers=2) as lines:
            (line,) = lines.lines
            told = json.loads(json.dumps(line.capacity()))
            assert (told["model"], told["workers"], told["measured"]) == ("tiny", 2, True)
            assert told["bounds"] == {"requests": 1000, "row_steps": 10_000, "bytes": 2**20}
            assert sorted(told["tick_seconds"]) == ["1", "2", "3", "4"]
            assert told["predicted_wait_seconds"] == {"interactive": 0.0, "batch": 0.0}
            line.dispatch.detach(line.dispatch._workers[0])
            assert line.capacity()["rows_per_second"] == pytest.approx(told["rows_per_second"] / 2)

    run(scenario)

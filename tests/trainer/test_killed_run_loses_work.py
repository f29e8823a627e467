"""SIGTERM and Ctrl-C save and leave with the signal's exit code; kill -9, even in a save, leaves what resumes."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import longjump
from models.checkpoint import load_checkpoint
from trainer.data.dataset import open_dataset
from trainer.loop import train
from trainer.recipe import Recipe
from trainer.rundir import RunDirectory
from trainer.train import StopSignal

ROOT = Path(__file__).resolve().parents[2]
ENDLESS = ["run.steps=1000000", "run.log_every=1"]
PATIENCE = 250  # seconds until a test gives up, on a machine that is busy; none waits for it otherwise

Command = Callable[..., list[str]]


@contextmanager
def started(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, str(ROOT / "longjump.py"), "train", *arguments]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_until(process: subprocess.Popen[str], there: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not there():
        if process.poll() is not None:
            pytest.fail(f"it ended with {process.returncode}: {process.stdout and process.stdout.read()}")
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.002)


def last_step(out: Path) -> int:
    return int(load_checkpoint(out)[1].step)


def test_sigterm_loses_the_steps_since_the_last_save(tmp_path: Path, points: Path, tiny_command: Command) -> None:
    out = tmp_path / "run"
    words = tiny_command("points/meanflow", *ENDLESS, "run.save_every=1000000")
    with started(*words, "--data", str(points), "--out", str(out)) as process:
        wait_until(process, (out / "log.jsonl").exists)
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 128 + signal.SIGTERM, said
    assert "meanflow on points: 1,000,000 steps of 16" in said
    assert "saving after this step" in said
    assert f"{out}/step-" in said
    assert "--resume" in said
    step = last_step(out)
    assert step == RunDirectory(out, 1).rows()[-1]["step"]
    assert [folder.name for folder in out.glob("*step-*")] == [f"step-{step:08d}"]
    resumed = tiny_command("points/meanflow", f"run.steps={step + 2}")
    again = ["train", *resumed, "--data", str(points), "--out", str(out), "--resume", "--device", "cpu"]
    assert longjump.main(again) == 0
    assert last_step(out) == step + 2


@pytest.mark.usefixtures("plain_cards")
def test_kill_while_it_saves_leaves_nothing_that_loads(
    tmp_path: Path, points: Path, tiny_command: Command, tiny: Callable[..., Recipe]
) -> None:
    out = tmp_path / "run"
    words = tiny_command("points/meanflow", *ENDLESS, "run.save_every=2")
    with started(*words, "--data", str(points), "--out", str(out)) as process:
        wait_until(process, lambda: list(out.glob("step-*")))
        wait_until(process, lambda: list(out.glob(".step-*")))
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=PATIENCE)
    assert process.returncode == -signal.SIGKILL
    step = last_step(out)
    for folder in out.glob("step-*"):
        load_checkpoint(folder)
    train(tiny("points/meanflow", f"run.steps={step + 2}"), open_dataset(points), out, resume=True)
    assert last_step(out) == step + 2
    assert not list(out.glob(".*"))


SHORT = ["run.steps=40", "run.save_every=4", "run.log_every=3", "run.keep=2", "run.score=2", "run.sample_steps=[1]"]


def killed_and_resumed(out: Path, words: list[str], rng: random.Random, kills: int) -> list[str]:
    """Kill -9 a command again and again, half of the times as soon as it is seen saving, then let it end. Where."""
    places = []
    for number in range(kills):
        resume = ["--resume"] if (out / "recipe.yaml").exists() else []
        before = {folder.name for folder in out.glob("step-*")}
        with started(*words, *resume) as process:
            if number % 2:
                # A new row of the log means that it trains; from there on any moment may come.
                size = (out / "log.jsonl").stat().st_size if (out / "log.jsonl").exists() else 0
                wait_until_or_end(process, lambda: _size(out / "log.jsonl") > size)  # noqa: B023
                time.sleep(rng.random() * 0.4)
            else:
                wait_until_or_end(process, lambda: list(out.glob(".step-*")) or _names(out) - before)  # noqa: B023
                time.sleep(rng.random() * 0.02)
            process.kill()
            process.communicate(timeout=PATIENCE)
        places.append(", ".join(sorted(each.name for each in out.glob("*step-*"))))
        for folder in out.glob("step-*"):
            load_checkpoint(folder)
    with started(*words, "--resume") as process:
        said, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, said
    return places


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def _names(out: Path) -> set[str]:
    return {folder.name for folder in out.glob("step-*")}


def wait_until_or_end(process: subprocess.Popen[str], there: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while process.poll() is None and not there():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.001)


def same_run(one: Path, other: Path, weights: Any) -> None:
    """Byte for byte: weights, averages, the state to go on from, configs, the log but for the clock, the best."""
    assert _names(one) == _names(other)
    assert weights(one) == weights(other)
    for folder in _names(one):
        assert (one / folder / "config.json").read_bytes() == (other / folder / "config.json").read_bytes()
    clock = ("per_second", "memory", "mfu")
    logs = [
        [{k: v for k, v in row.items() if k not in clock} for row in RunDirectory(out, 1).rows()]
        for out in (one, other)
    ]
    assert logs[0] == logs[1]
    assert os.readlink(one / "best") == os.readlink(other / "best")
    assert not list(one.glob(".*"))


@pytest.mark.parametrize(
    ("recipe", "kills"),
    [
        ("points/meanflow", 2),
        pytest.param("points/meanflow", 12, marks=pytest.mark.slow),
        pytest.param("facets/meanflow", 8, marks=pytest.mark.slow),
        pytest.param("points/flow-matching", 6, marks=pytest.mark.slow),
    ],
)
def test_kill_at_any_moment_changes_the_run(
    tmp_path: Path, points: Path, grey: Path, tiny_command: Command, weights: Any, recipe: str, kills: int
) -> None:
    data = points if recipe.startswith("points") else grey
    words = [*tiny_command(recipe, *SHORT), "--data", str(data), "--device", "cpu"]
    with started(*words, "--out", str(tmp_path / "straight")) as process:
        said, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, said
    out = tmp_path / "killed"
    seed = random.SystemRandom().randrange(10**6)
    places = killed_and_resumed(out, [*words, "--out", str(out)], random.Random(seed), kills)
    print(f"seed {seed}, killed at: {places}")
    same_run(out, tmp_path / "straight", weights)


@pytest.mark.usefixtures("plain_cards")
@pytest.mark.parametrize("left", [".step-00000002.partial", ".step-00000001.old"])
def test_leftover_of_a_kill_stays(
    tmp_path: Path, points: Path, tiny: Callable[..., Recipe], stop_after: Any, left: str
) -> None:
    """What the kill above may leave, whether it did this time or not."""
    recipe, dataset, out = tiny("points/meanflow"), open_dataset(points), tmp_path / "run"
    train(recipe, dataset, out, stop=stop_after(2))
    (out / left / "resume").mkdir(parents=True)
    (out / left / "config.json").write_text("{")
    assert last_step(out) == 2
    train(recipe, dataset, out, resume=True)
    assert sorted(file.name for file in out.iterdir()) == [
        "README.md",
        "log.jsonl",
        "recipe.yaml",
        "step-00000003",
        "step-00000006",
    ]


@pytest.mark.usefixtures("plain_cards")
def test_old_checkpoints_of_a_finished_run_stay(
    tmp_path: Path, points: Path, tiny: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed once the last checkpoint is there and before older ones go, it has no step left to save after."""
    recipe, dataset = tiny("points/meanflow", "run.save_every=1", "run.keep=2"), open_dataset(points)
    out = tmp_path / "run"
    with monkeypatch.context() as kill:
        kill.setattr(RunDirectory, "_remove_old", lambda self: None)
        train(recipe, dataset, out)
    assert len(_names(out)) == 6
    train(recipe, dataset, out, resume=True)
    assert _names(out) == {"step-00000005", "step-00000006"}


def test_second_interrupt_waits_for_the_step() -> None:
    """The first Ctrl-C asks, the second one interrupts; afterwards the handlers are what they were."""
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with StopSignal() as stop:
        assert not stop()
        signal.raise_signal(signal.SIGINT)
        assert stop()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_second_sigterm_kills_the_save() -> None:
    """Ctrl-C apart: a supervisor that repeats SIGTERM must not cut the saving short."""
    with StopSignal() as stop:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        assert stop()

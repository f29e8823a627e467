"""SIGTERM and Ctrl-C save and leave with exit code 0; kill -9, even in a save, leaves checkpoints that resume."""

from __future__ import annotations

import os
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
    assert "meanflow on points: 1000000 steps of 16" in said
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

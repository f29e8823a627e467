"""A write that fails in the middle of a checkpoint leaves no partial folder, the last checkpoint, and one line."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

import longjump
from models.checkpoint import load_checkpoint
from trainer.data.dataset import open_dataset
from trainer.loop import train
from trainer.recipe import Recipe
from trainer.rundir import RunDirectory, replace_text

pytestmark = pytest.mark.usefixtures("plain_cards")

Tiny = Callable[..., Recipe]
Fail = Callable[[pytest.MonkeyPatch], None]


def full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def after(calls: int, original: Callable[..., Any]) -> Callable[..., Any]:
    """`original`, but the disk is full from the given call on."""
    count = iter(range(1, 1_000_000))
    return lambda *args, **kwargs: full() if next(count) >= calls else original(*args, **kwargs)


def in_the_averages(patch: pytest.MonkeyPatch) -> None:
    import trainer.rundir

    patch.setattr("trainer.rundir.write_weights", after(2, trainer.rundir.write_weights))


def in_the_state(patch: pytest.MonkeyPatch) -> None:
    import trainer.rundir

    patch.setattr("trainer.rundir.write_weights", after(4, trainer.rundir.write_weights))


PLACES: dict[str, Fail] = {
    "averages": in_the_averages,
    "resume state": in_the_state,
    "card": lambda patch: patch.setattr(Path, "write_bytes", full),
    "config": lambda patch: patch.setattr(Path, "write_text", full),
    "flush": lambda patch: patch.setattr(os, "fsync", full),
    "rename": lambda patch: patch.setattr(Path, "rename", full),
    "folder": lambda patch: patch.setattr(Path, "mkdir", full),
}


@pytest.mark.parametrize("place", PLACES)
def test_full_disk_leaves_a_half(
    tmp_path: Path, tiny: Tiny, points: Path, weights: Any, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    dataset, out = open_dataset(points), tmp_path / "run"
    before = weights(train(tiny("points/meanflow", "run.steps=3"), dataset, out))
    save = RunDirectory.save

    def failing(self: RunDirectory, *args: Any) -> Path:
        with monkeypatch.context() as patch:
            PLACES[place](patch)
            return save(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(RunDirectory, "save", failing)
        with pytest.raises(OSError, match=r"step-00000005 could not be written .*No space left .*before it are intact"):
            train(tiny("points/meanflow", "run.steps=5"), dataset, out, resume=True)
    assert sorted(file.name for file in out.iterdir()) == ["README.md", "log.jsonl", "recipe.yaml", "step-00000003"]
    assert weights(out / "step-00000003") == before
    assert train(tiny("points/meanflow", "run.steps=5"), dataset, out, resume=True).name == "step-00000005"


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """The kernel refuses to let any file grow beyond `size` bytes, as it would on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_refusing_kernel_is_a_traceback(
    tmp_path: Path, points: Path, tiny_command: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """The real thing, from the command line: safetensors writes in Rust and raises its own exception."""
    out = tmp_path / "run"
    words = tiny_command("points/meanflow", "run.steps=2")
    with files_of_at_most(4096):
        code = longjump.main(["train", *words, "--data", str(points), "--out", str(out), "--device", "cpu"])
    assert code == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith(f"longjump train: error: the checkpoint {out}/step-00000002 could not be written")
    assert "File too large" in said
    assert sorted(file.name for file in out.iterdir()) == ["README.md", "log.jsonl", "recipe.yaml"]


def test_interrupt_leaves_a_half(tmp_path: Path, tiny: Tiny, points: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C twice while it saves."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_bytes", interrupt)
    with pytest.raises(KeyboardInterrupt):
        train(tiny("points/meanflow", "run.steps=1"), open_dataset(points), tmp_path / "run")
    assert not list((tmp_path / "run").glob("*step-*"))


@pytest.mark.parametrize(("keep", "left"), [(1, [6]), (2, [5, 6]), (4, [3, 4, 5, 6]), (9, [1, 2, 3, 4, 5, 6])])
def test_old_checkpoints_pile_up(tmp_path: Path, tiny: Tiny, points: Path, keep: int, left: list[int]) -> None:
    out = tmp_path / "run"
    train(tiny("points/meanflow", "run.save_every=1", f"run.keep={keep}"), open_dataset(points), out)
    assert sorted(folder.name for folder in out.glob("*step-*")) == [f"step-{step:08d}" for step in left]
    assert all(load_checkpoint(folder)[1].step in left for folder in out.glob("step-*"))


def test_old_checkpoint_goes_before_the_new_one_is_there(
    tmp_path: Path, tiny: Tiny, points: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """keep=1 and a full disk at the second save: the first must still be there."""
    count = iter((False, True))
    rename = Path.rename
    monkeypatch.setattr(Path, "rename", lambda self, to: full() if next(count) else rename(self, to))
    with pytest.raises(OSError, match="could not be written"):
        train(tiny("points/meanflow", "run.save_every=1", "run.keep=1"), open_dataset(points), tmp_path / "run")
    assert [folder.name for folder in (tmp_path / "run").glob("*step-*")] == ["step-00000001"]


def test_half_a_text_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "recipe.yaml"
    replace_text(file, "old")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        with pytest.raises(OSError, match="No space"):
            replace_text(file, "new")
    assert file.read_text() == "old"
    replace_text(file, "new")
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.yaml"]


def test_state_of_the_weights_is_a_view(tmp_path: Path, tiny: Tiny, points: Path) -> None:
    """The averages are copies: the network's later steps must not move them."""
    folder = train(tiny("points/meanflow", "run.steps=4"), open_dataset(points), tmp_path / "run")
    raw, averaged = load_checkpoint(folder, "model")[0], load_checkpoint(folder)[0]
    same = [torch.equal(a, b) for a, b in zip(raw.parameters(), averaged.parameters(), strict=True)]
    assert not all(same)

"""A training saves while its run is measured: the figures go to the checkpoint that they are of, or nowhere."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trainer.evaluate import generator

from .conftest import Small

Evaluate = Callable[..., tuple[int, str]]


@pytest.fixture
def run(small: Small, tmp_path: Path) -> Path:
    """With a checkpoint of step 2, which is the newest and the best."""
    shutil.copytree(small.checkpoint, tmp_path / "run" / "step-00000002")
    (tmp_path / "run" / "best").symlink_to("step-00000002")
    return tmp_path / "run"


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Any]], None]:
    """`meanwhile(DO)`: done when the first samples are drawn."""

    def set_up(do: Callable[[], Any]) -> None:
        opened = generator.from_checkpoint

        def watched(*args: Any) -> generator.Generator:
            found = opened(*args)

            def draw(*asked: Any) -> Any:
                do()
                return found.draw(*asked)

            return dataclasses.replace(found, draw=draw)

        monkeypatch.setattr(generator, "from_checkpoint", watched)

    return set_up


@pytest.mark.parametrize("asked", ["run", "run/best"])
def test_newer_checkpoint_gets_the_figures(
    evaluate: Evaluate, small: Small, run: Path, meanwhile: Callable[..., None], asked: str
) -> None:
    first, later = run / "step-00000002", run / "step-00000004"

    def save() -> None:
        shutil.copytree(first, later)
        (run / "best").unlink()
        (run / "best").symlink_to(later.name)

    meanwhile(save)
    code, said = evaluate(run.parent / asked, "--data", small.data, "--steps", 1, "--samples", 16)
    assert code == 0, said
    assert str(first) in said
    assert json.loads((first / "evaluation.json").read_text())["model"]["name"] == first.name
    assert later.is_dir()
    assert not (later / "evaluation.json").exists()


def test_figures_of_a_removed_checkpoint_are_lost(
    evaluate: Evaluate, small: Small, run: Path, meanwhile: Callable[..., None], tmp_path: Path
) -> None:
    """Not those of --out; and another checkpoint does not get them."""
    first, later, out = run / "step-00000002", run / "step-00000004", tmp_path / "out.json"
    meanwhile(lambda: first.rename(later))
    code, said = evaluate(run, "--data", small.data, "--steps", 1, "--samples", 16, "--out", out)
    assert code == 2
    assert f"{first} is gone" in said
    assert not first.exists()
    assert not (later / "evaluation.json").exists()
    assert json.loads(out.read_text())["model"]["name"] == first.name

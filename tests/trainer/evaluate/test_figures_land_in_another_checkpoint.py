"""A training saves while its run is measured: the figures go to the model that they are of, or nowhere."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from functools import partial
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
        def watched(opened: Callable[..., generator.Generator], *args: Any) -> generator.Generator:
            found = opened(*args)

            def draw(*asked: Any) -> Any:
                do()
                return found.draw(*asked)

            return dataclasses.replace(found, draw=draw)

        for name in ("from_checkpoint", "from_bundle"):
            monkeypatch.setattr(generator, name, partial(watched, getattr(generator, name)))

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


def test_bundle_that_was_exported_anew_gets_the_figures_of_the_old(
    evaluate: Evaluate, small: Small, meanwhile: Callable[..., None], tmp_path: Path
) -> None:
    bundle, graded = tmp_path / "bundle", tmp_path / "graded"
    shutil.copytree(small.bundle, bundle)
    card = bundle / "README.md"
    meanwhile(lambda: card.write_text("# another\n"))
    words = ["--data", small.data, "--steps", 1, "--samples", 16, "--threads", 1, "--write", graded]
    code, said = evaluate(bundle, *words)
    assert code == 2
    assert str(card) in said
    assert not graded.exists()

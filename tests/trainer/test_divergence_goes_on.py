"""NaN or Inf stops the run with the step and the term that produced it; the last good checkpoint is as it was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import longjump
from models.checkpoint import load_checkpoint
from trainer.data.dataset import open_dataset
from trainer.loop import train
from trainer.objectives.meanflow import MeanFlow
from trainer.objectives.parts.moment import Moment
from trainer.objectives.parts.target import Target
from trainer.optimiser import Optimisers
from trainer.recipe import Recipe
from trainer.training import Diverged, check_finite

Tiny = Callable[..., Recipe]
Spoil = Callable[[Target], Target]

BAD_STEP = 4


@pytest.fixture
def spoil_step(monkeypatch: pytest.MonkeyPatch) -> Callable[[Spoil], None]:
    """Let MeanFlow's answer at step 4 pass through a function."""

    def install(spoil: Spoil) -> None:
        original = MeanFlow.__call__

        def call(self: MeanFlow, networks: Any, batch: Any, draws: Any, moment: Moment) -> Target:
            target = original(self, networks, batch, draws, moment)
            return spoil(target) if moment.step == BAD_STEP else target

        monkeypatch.setattr(MeanFlow, "__call__", call)

    return install


def bad_term(value: float) -> Spoil:
    return lambda target: target._replace(terms=target.terms | {"loss/jump": torch.tensor([1.0, value])})


def bad_weight(target: Target) -> Target:
    return target._replace(weight=target.weight * float("inf"))


def bad_gradient(target: Target) -> Target:
    """The loss is finite, its gradient is not, as with a square root at zero."""

    def to_nan(gradient: Tensor) -> Tensor:
        return gradient * float("nan")

    target.prediction.register_hook(to_nan)
    return target


@pytest.mark.usefixtures("plain_cards")
@pytest.mark.parametrize(
    ("spoil", "term"),
    [
        (bad_term(float("nan")), "loss/jump is nan"),
        (bad_term(float("-inf")), "loss/jump is -inf"),
        (bad_weight, "loss is inf"),
        (bad_gradient, "gradient is nan"),
    ],
    ids=["nan", "inf", "weighted loss", "gradient"],
)
def test_bad_step_is_taken(
    tmp_path: Path, tiny: Tiny, points: Path, weights: Any, spoil_step: Any, spoil: Spoil, term: str
) -> None:
    recipe, dataset = tiny("points/meanflow"), open_dataset(points)
    good = train(recipe, dataset, tmp_path / "good")
    spoil_step(spoil)
    with pytest.raises(Diverged, match=f"^step 4: {term};"):
        train(recipe, dataset, tmp_path / "bad")
    assert [folder.name for folder in (tmp_path / "bad").glob("*step-*")] == ["step-00000003"]
    kept = tmp_path / "bad" / "step-00000003"
    assert weights(kept) == weights(good.parent / "step-00000003")
    assert load_checkpoint(kept)[1].step == 3


@pytest.mark.usefixtures("plain_cards")
def test_resume_after_divergence_fails(
    tmp_path: Path, tiny: Tiny, points: Path, weights: Any, spoil_step: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, dataset = tiny("points/meanflow"), open_dataset(points)
    good = weights(train(recipe, dataset, tmp_path / "good"))
    with monkeypatch.context() as patch:
        patch.setattr(MeanFlow, "__call__", MeanFlow.__call__)
        spoil_step(bad_gradient)
        with pytest.raises(Diverged):
            train(recipe, dataset, tmp_path / "bad")
    monkeypatch.undo()
    monkeypatch.setattr("trainer.loop.checkpoint_files", lambda *_: {})
    assert weights(train(recipe, dataset, tmp_path / "bad", resume=True)) == good


@pytest.mark.usefixtures("plain_cards")
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_bad_weight_is_saved(
    tmp_path: Path, tiny: Tiny, points: Path, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    """A finite gradient may still throw a weight out of float32; the loss would only tell a step after the save."""
    step = Optimisers.step

    def overflow(self: Optimisers, rate: float) -> Tensor:
        norm = step(self, rate)
        with torch.no_grad():
            self.parameters[0].view(-1)[0] = value
        return norm

    recipe, dataset, out = tiny("points/meanflow", "run.save_every=1"), open_dataset(points), tmp_path / "run"
    train(tiny("points/meanflow", "run.steps=1"), dataset, out)
    monkeypatch.setattr(Optimisers, "step", overflow)
    with pytest.raises(Diverged, match=rf"^step 2: weight net\.\S+ is {value};"):
        train(recipe, dataset, out, resume=True)
    assert [folder.name for folder in out.glob("*step-*")] == ["step-00000001"]


def test_huge_data_is_a_traceback(tmp_path: Path, tiny_command: Any, capfd: pytest.CaptureFixture[str]) -> None:
    """From the command line: finite numbers whose square is not. One line, exit code 2, and no checkpoint."""
    data, out = tmp_path / "huge.npz", tmp_path / "run"
    np.savez(data, x=np.full((32, 1), 1e25, dtype=np.float32))
    words = tiny_command("points/meanflow", "model.parametrisation=raw")
    assert longjump.main(["train", *words, "--data", str(data), "--out", str(out), "--device", "cpu"]) == 2
    said = capfd.readouterr().err.splitlines()[-1]
    assert said.startswith("longjump train: error: step 1: loss/jump is inf; ")
    assert "optimiser.lr" in said
    assert not list(out.glob("*step-*"))


@pytest.mark.usefixtures("plain_cards")
def test_full_device_is_a_traceback(
    tmp_path: Path, points: Path, tiny_command: Any, spoil_step: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    """From the command line: one line that says what to make smaller, and the last checkpoint as it was."""

    def full(target: Target) -> Target:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nSee the documentation")

    spoil_step(full)
    words = [*tiny_command("points/meanflow"), "--data", str(points), "--out", str(tmp_path / "run")]
    assert longjump.main(["train", *words, "--device", "cpu"]) == 2
    said = capfd.readouterr().err.splitlines()[-1]
    refusal = "longjump train: error: cpu has too little memory for this; try a larger run.accumulate or a smaller "
    assert said.startswith(refusal + "run.batch (CUDA")
    assert [folder.name for folder in (tmp_path / "run").glob("*step-*")] == ["step-00000003"]


def test_finite_terms_stop_the_run() -> None:
    """Negative control, and the first bad term in order is the one named."""
    good = {"derivative": torch.tensor(3e38), "loss": torch.tensor(0.0)}
    check_finite(7, good)
    with pytest.raises(Diverged, match="step 7: loss/jump is nan"):
        check_finite(7, good | {"loss/jump": torch.tensor(float("nan")), "last": torch.tensor(float("inf"))})

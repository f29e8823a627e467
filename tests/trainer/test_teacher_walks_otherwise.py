"""A teacher of `split-meanflow` walks as the map that it is, and what makes the targets in its place makes room."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import longjump
from models.checkpoint import CheckpointConfig, GuidanceInput, build_for, find_checkpoint, read_config
from tests.trainer.teachers import random_teacher
from trainer.company import Company, Lender
from trainer.data.dataset import Dataset, open_dataset
from trainer.loop import train
from trainer.objectives.parts.target import Networks
from trainer.recipe import Recipe
from trainer.start import read_lenders, settle
from trainer.step import Loss

Tiny = Callable[..., Recipe]


def seen(lender: Lender) -> Networks:
    """What an objective is given whose teacher this is."""
    found: list[Networks] = []

    def objective(networks: Networks, *_: Any) -> Any:
        found.append(networks)
        raise StopIteration

    loss = Loss(lender.flow_map, objective, 0, company=Company(teacher=lender))  # type: ignore[arg-type]
    with pytest.raises(StopIteration):
        loss(None, None, None)
    return found[0]


def map_of(dataset: Dataset, changes: dict[str, Any]) -> Lender:
    """A teacher of random weights with another config."""
    teacher = random_teacher(dataset)
    config = CheckpointConfig.model_validate({**teacher.config.model_dump(), **changes})
    flow_map = build_for(config).eval().requires_grad_(False)
    torch.manual_seed(0)
    for weight in flow_map.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    return replace(teacher, flow_map=flow_map, config=config)


def point() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    rows = torch.linspace(-1, 1, 6)
    return torch.stack([rows, rows.flip(0) + 1], 1), torch.full((6,), 0.9), torch.full((6,), 0.3), torch.arange(6) % 3


def test_teacher_takes_other_steps(plane: Path) -> None:
    """A map its own jumps; a flow, which knows none, Euler steps. Its velocity is the same in both."""
    dataset, (z, t, s, label) = open_dataset(plane), point()
    for span, until in (("any", s), ("velocity", t)):
        lender = map_of(dataset, {"span": span})
        networks, u = seen(lender), lender.flow_map
        assert networks.walker is not None
        assert networks.teacher is not None
        assert torch.equal(networks.walker(z, t, s, label), u(z, t, until, label))
        assert torch.equal(networks.teacher(z, t, label), u(z, t, t, label))
        assert not torch.allclose(u(z, t, s, label), u(z, t, t, label))  # of these weights the two are apart


def test_teacher_is_told_the_students_scale(plane: Path) -> None:
    """It is asked at its own default, which is what `walked_scale` names."""
    z, t, s, label = point()
    lender = map_of(open_dataset(plane), {"span": "any", "guidance": GuidanceInput(min=1, max=4, default=2)})
    walker = seen(lender).walker
    assert walker is not None
    at = [lender.flow_map(z, t, s, label, torch.full_like(t, scale)) for scale in (2.0, 3.0)]
    assert torch.equal(walker(z, t, s, label, torch.full_like(t, 3.0)), at[0])
    assert not torch.allclose(at[0], at[1])


def test_average_is_kept_for_nothing(tiny: Tiny) -> None:
    recipe = tiny("points/split-meanflow", "objective.target_ema=0.99")
    alone, told = settle(recipe, {})
    assert (alone.objective.target_ema, told) == (0.99, [])
    taught, told = settle(recipe, {"teacher": Path("nowhere")})
    assert taught.objective.target_ema is None
    assert told == ["split-meanflow: the teacher makes the targets, so no weights are averaged for them (target_ema)"]


def test_run_that_learns_nothing_is_not_told(tiny: Tiny) -> None:
    """Where all rows are jumps, only another map's steps are learned, and something must hold that map still."""
    jumps = tiny("points/split-meanflow", "objective.times.jumps=1")
    held = tiny("points/split-meanflow", "objective.times.jumps=1", "objective.target_ema=0.99")
    (nothing,), (loose,) = settle(jumps, {})[1], settle(jumps, {"init": Path("nowhere")})[1]
    assert nothing.endswith("give --init or --teacher")
    assert "nothing holds them to what --init knew" in loose
    assert settle(held, {"init": Path("nowhere")})[1] == []
    assert settle(jumps, {"teacher": Path("nowhere")})[1] == []
    assert settle(tiny("points/split-meanflow"), {})[1] == []


def test_plain_flow_counts_as_guided(tmp_path: Path, tiny: Tiny, plane: Path) -> None:
    train(tiny("points/flow-matching", "run.steps=1"), open_dataset(plane), tmp_path / "flow")
    guidance = "objective.guidance={range: [1, 3]}"
    for scale, wrong in ((1.5, "--teacher is guided by 1, and"), (1, None)):
        recipe = tiny("points/split-meanflow", "run.steps=1", guidance, f"objective.walked_scale={scale}")
        lenders = read_lenders({"teacher": tmp_path / "flow"})
        if wrong is None:
            train(recipe, open_dataset(plane), tmp_path / "run", lenders=lenders)
        else:
            with pytest.raises(ValueError, match=wrong):
                train(recipe, open_dataset(plane), tmp_path / "run", lenders=lenders)


def test_range_of_a_teacher_that_has_none(tiny: Tiny) -> None:
    """Jumps would be told scales that they do not have."""
    recipe = tiny("points/split-meanflow", "objective.guidance={range: [1, 3]}")
    with pytest.raises(ValueError, match=r"which objective\.walked_scale has to name for a range"):
        settle(recipe, {"teacher": Path("nowhere")})


@pytest.mark.parametrize(
    ("kappa", "role", "told"),
    [
        (0.0, "teacher", "--teacher is guided by 1, and objective.walked_scale is 1.5; set it to 1"),
        (0.0, "init", "--init is guided by 1, and"),
        (0.5, "teacher", "--teacher is guided by 2, and"),
        (0.334, "teacher", None),  # of 1.5015, as a person rounds it
    ],
)
def test_scale_of_the_walking_map_is_another(
    tmp_path: Path, tiny: Tiny, plane: Path, kappa: float, role: str, told: str | None
) -> None:
    walker = tiny("points/meanflow", "run.steps=1", f"objective.guidance={{kappa: {kappa}}}")
    train(walker, open_dataset(plane), tmp_path / "map")
    guidance = "objective.guidance={range: [1, 3]}"
    recipe = tiny("points/split-meanflow", "run.steps=1", guidance, "objective.walked_scale=1.5")
    lenders = read_lenders({role: tmp_path / "map"})  # type: ignore[dict-item]
    if told is None:
        train(recipe, open_dataset(plane), tmp_path / "run", lenders=lenders)
        return
    with pytest.raises(ValueError, match=told):
        train(recipe, open_dataset(plane), tmp_path / "run", lenders=lenders)


@pytest.mark.usefixtures("plain_cards")
def test_teacher_changes_nothing(
    tmp_path: Path, tiny: Tiny, tiny_command: Callable[..., list[str]], plane: Path, weights: Any
) -> None:
    """By the command line, of a range of guidance; the checkpoint names it and the range."""
    one = "objective.guidance={kappa: 0.3333}"
    train(tiny("points/meanflow", "run.seed=1", one), open_dataset(plane), tmp_path / "map")
    guidance = "objective.guidance={range: [1, 3], default: 1.5}"
    recipe = tiny_command("points/split-meanflow", "objective.times.jumps=1", guidance, "objective.walked_scale=1.5")
    found = {}
    for name in ("taught", "alone"):
        words = ["--teacher", str(tmp_path / "map")] if name == "taught" else []
        out = tmp_path / name
        assert (
            longjump.main(["train", *recipe, "--data", str(plane), "--out", str(out), "--device", "cpu", *words]) == 0
        )
        found[name] = find_checkpoint(out)
    assert weights(found["taught"]) != weights(found["alone"])
    config = read_config(found["taught"])
    assert config.origin["teacher"]["method"] == "meanflow"
    assert config.guidance == GuidanceInput(min=1, max=3, default=1.5)
    assert "teacher" not in read_config(found["alone"]).origin
    again = ["train", *recipe, "--data", str(plane), "--out", str(tmp_path / "taught"), "--device", "cpu", "--resume"]
    assert longjump.main([*again, "--teacher", str(tmp_path / "map")]) == 0
    assert longjump.main([*again, "--teacher", str(tmp_path / "alone")]) == 2
    assert longjump.main(again) == 2

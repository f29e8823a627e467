"""The adversarial phase: without it nothing changes; with it the map moves to the data, and the same way every time."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from models.checkpoint import CheckpointConfig, read_weights
from models.discriminator import Discriminator
from tests.trainer.processes.cases import case, three_steps
from tests.trainer.teachers import teachers_for
from trainer.adversary import AdversarialPhase, DiscriminatorLoss, Judged
from trainer.company import Lenders
from trainer.data.dataset import Dataset, open_dataset
from trainer.loop import train
from trainer.objectives.parts.adversary import Adversary
from trainer.objectives.parts.moment import Moment
from trainer.objectives.parts.target import Batch, Condition, Networks
from trainer.processes import Processes
from trainer.recipe import Recipe, parse_recipe
from trainer.rundir import RunDirectory
from trainer.start import settle
from trainer.training import Training

KINDS = {"mlp": "points", "dit": "grey"}
Fit = Callable[[float, bool], float]


def recipe(network: str = "mlp", run: dict[str, Any] | None = None, method: str = "ctm", **adversary: Any) -> Recipe:
    """A tiny run of CTM or AYF-EMD with an adversarial phase from step 2 on; `start_step=0`: without one."""
    phase = {"start_step": 2, "weight": 1.0, "width": 8, **adversary}
    own: dict[str, Any] = {"count": 4} if method == "ctm" else {"autoguidance": None}
    return case(network, {"method": method, **own, "adversary": phase if phase["start_step"] else None}, run=run or {})


def moved(recipe: Recipe, dataset: Dataset, steps: int) -> dict[str, Tensor]:
    """The map's weights after some steps."""
    training = Training(recipe, dataset, Processes("cpu"), teachers_for(recipe, dataset))
    for step in range(1, steps + 1):
        training.step(step)
    return {name: value.detach().clone() for name, value in training.flow_map.state_dict().items()}


def differ(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return any(not torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(("method", "network"), [("ctm", "mlp"), ("ctm", "dit"), ("ayf-emd", "dit")])
def test_phase_begins_before_its_step(method: str, network: str, request: pytest.FixtureRequest) -> None:
    """The same bits as without it up to its first step, and others from there on."""
    dataset = open_dataset(request.getfixturevalue(KINDS[network]))
    without, later = (recipe(network, method=method, start_step=step) for step in (0, 4))
    assert not differ(moved(without, dataset, 3), moved(later, dataset, 3))
    # At its first step all scores are 0, and so is the slope that the map would follow.
    assert differ(moved(without, dataset, 5), moved(later, dataset, 5))


def test_switched_off_phase_is_built(points: Path) -> None:
    dataset, without = open_dataset(points), recipe(start_step=0)
    training = Training(without, dataset, Processes("cpu"), teachers_for(without, dataset))
    assert training.phase is None
    assert training.alone.judge is None
    assert training.beside().keys() == {"lagged"}


@pytest.mark.usefixtures("plain_cards")
@pytest.mark.parametrize(
    ("network", "pause"), [("mlp", 1), ("mlp", 5), ("dit", 3)], ids=["before it", "between saves", "mid-epoch"]
)
def test_resumed_run_ends_elsewhere(
    tmp_path: Path, network: str, pause: int, request: pytest.FixtureRequest, stop_after: Any, weights: Any
) -> None:
    """6 steps against 1 + 5, 3 + 3 and 5 + 1, bit by bit: the discriminator and its optimiser too."""
    dataset, settings = open_dataset(request.getfixturevalue(KINDS[network])), recipe(network)
    lenders = teachers_for(settings, dataset)
    straight = train(settings, dataset, tmp_path / "straight", lenders=lenders)
    train(settings, dataset, tmp_path / "paused", stop=stop_after(pause), lenders=lenders)
    resumed = train(settings, dataset, tmp_path / "paused", resume=True, lenders=lenders)
    assert "resume/discriminator.safetensors" in weights(straight)
    assert weights(resumed) == weights(straight)
    state = read_weights(straight / "resume" / "state.safetensors")
    assert any(name.startswith("1/") and name.endswith("exp_avg_sq") for name in state)  # of the discriminator's Adam
    assert not any("discriminator" in name for name in read_weights(straight / "model.safetensors"))
    logged = RunDirectory(tmp_path / "paused", 1).rows()
    judged = {"loss/adversarial", "loss/discriminator", "score/data", "score/samples", "score/slope"}
    assert [judged <= row.keys() for row in logged] == [False, True, True, True, True, True]


@pytest.mark.usefixtures("plain_cards")
def test_lost_discriminator_goes_unnoticed(
    tmp_path: Path, points: Path, stop_after: Any, weights: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control: with fresh weights of it after the pause, the map ends elsewhere."""
    dataset, settings = open_dataset(points), recipe()
    lenders = teachers_for(settings, dataset)
    straight = weights(train(settings, dataset, tmp_path / "straight", lenders=lenders))
    train(settings, dataset, tmp_path / "paused", stop=stop_after(3), lenders=lenders)
    restore = RunDirectory.restore

    def forgetful(self: RunDirectory, config: Any, flow_map: Any, emas: Any, optimisers: Any, beside: Any) -> int:
        return restore(self, config, flow_map, emas, optimisers, {"lagged": beside["lagged"]})

    monkeypatch.setattr(RunDirectory, "restore", forgetful)
    resumed = weights(train(settings, dataset, tmp_path / "paused", resume=True, lenders=lenders))
    assert resumed["model.safetensors"] != straight["model.safetensors"]


@pytest.mark.parametrize("loss", ["relativistic", "hinge"])
def test_pieces_judge_another_batch(grey: Path, loss: str) -> None:
    """A batch in two pieces moves map and discriminator as whole, within rounding."""
    whole, pieces = (three_steps(recipe("dit", loss=loss, run={"accumulate": count}), grey) for count in (1, 2))
    assert any(name.startswith("discriminator/") for name in whole)
    for name, value in whole.items():
        assert torch.allclose(pieces[name], value, rtol=1e-3, atol=5e-5), (name, (pieces[name] - value).abs().max())


@pytest.fixture
def toy() -> Callable[..., float]:
    """`toy(loss, sign, learns)`: where a map that shifts noise ends, which began at -0.5; the data's mean is 0.7."""

    def run(loss: str, sign: float = 1.0, learns: bool = True) -> float:
        torch.manual_seed(0)
        generator = torch.Generator().manual_seed(0)
        settings = Adversary.model_validate({"start_step": 1, "loss": loss, "lr": 2e-3, "width": 16})
        phase = AdversarialPhase(settings, points_config(), torch.device("cpu"))
        shift = torch.tensor(-0.5, requires_grad=True)
        optimiser = torch.optim.Adam([shift], lr=2e-2, betas=(0.0, 0.99))
        for _ in range(200):
            real, noise = (0.4 * torch.randn(128, 1, generator=generator) for _ in range(2))
            judged = Judged(0.7 + real, shift + noise, torch.zeros(128, dtype=torch.long))
            optimiser.zero_grad()
            (sign * phase.judge(judged).mean()).backward()
            optimiser.step()
            if learns:
                list(phase.step([judged._replace(fake=judged.fake.detach())], Processes("cpu")))
        return shift.item()

    return run


@pytest.mark.parametrize("loss", ["relativistic", "hinge"])
def test_map_moves_away_from_the_data(toy: Callable[..., float], loss: str) -> None:
    assert toy(loss) == pytest.approx(0.7, abs=0.2)


def test_map_moves_anyway(toy: Callable[..., float]) -> None:
    """Controls: with the sign turned it moves away; with a discriminator that does not learn it stays."""
    assert toy("relativistic", sign=-1.0) < -0.6
    assert toy("relativistic", learns=False) == pytest.approx(-0.5, abs=1e-6)


def points_config() -> CheckpointConfig:
    dataset: dict[str, Any] = {"name": "nothing", "sha256": "0" * 64, "licence": "CC0-1.0"}
    return CheckpointConfig(
        method="ctm", kind="points", shape=(1,), labels=(), architecture=recipe().model, span="any", grids={}, emas=(),
        step=1, recipe={}, data=dataset,
    )  # fmt: skip


def linear(slope: float, offset: float) -> Discriminator:
    """D(x) = slope x + offset."""
    found = Discriminator((1,), 0, width=1)
    found.features = nn.Sequential(nn.Identity())
    nn.init.constant_(found.score.weight, slope)
    nn.init.constant_(found.score.bias, offset)
    return found


@pytest.mark.parametrize("gamma", [0.0, 0.5])
def test_losses_are_others_than_published(gamma: float) -> None:
    """By hand, at D(x) = 3 x + 1: 4 at the data and -2 at the sample, and a slope of 9 at each."""
    judged = Judged(torch.tensor([[1.0]]), torch.tensor([[-1.0]]), torch.zeros(1, dtype=torch.long))
    small = math.log1p(math.exp(-6))
    expected = {"relativistic": (small, 6 + small), "hinge": (0.0, 2.0)}
    for loss, (of_discriminator, of_map) in expected.items():
        settings = Adversary.model_validate({"start_step": 1, "loss": loss, "gamma": gamma})
        value, terms = DiscriminatorLoss(linear(3.0, 1.0), settings)(judged)
        assert value.item() == pytest.approx(of_discriminator + gamma / 2 * (9 + 9), abs=1e-6)
        assert (terms["score/data"].item(), terms["score/samples"].item()) == (4.0, -2.0)
        assert ("score/slope" in terms) == (gamma > 0)
        found = settings.of_map(torch.tensor([4.0]), torch.tensor([-2.0]))
        assert found.item() == pytest.approx(of_map, abs=1e-6)


def test_align_your_flow_shows_other_samples(points: Path) -> None:
    """Its jumps from z_t to the data, from the phase's first step on."""
    torch.manual_seed(0)
    batch = Batch(torch.randn(8, 1), torch.randn(8, 1), Condition(torch.zeros(8, dtype=torch.long)), torch.zeros(8) > 1)
    objective = recipe(method="ayf-emd", start_step=3).objective

    def u(z: Tensor, t: Tensor, s: Tensor, label: Tensor) -> Tensor:
        return z * (t - 2 * s)[:, None]

    networks = Networks(u, u, 0, teacher=lambda z, t, label: z)
    for step in (2, 3):
        draws = objective.draw(8, torch.Generator().manual_seed(0), Moment(step, 6))
        fake = objective(networks, batch, draws, Moment(step, 6)).fake
        if step == 2:
            assert fake is None
        else:
            t = draws.t[:, None]
            torch.testing.assert_close(fake, batch.at(draws.t) * (1 - t * t))


SHAPES = [(1,), (2,), (1, 8, 8), (3, 32, 32), (4, 16, 16), (3, 28, 20)]


@pytest.mark.parametrize("shape", SHAPES)
def test_rows_are_judged_together(shape: tuple[int, ...]) -> None:
    """A row's score does not depend on the others, is of its label, and 0 at the start; all weights get a gradient."""
    torch.manual_seed(0)
    judge = Discriminator(shape, 3, width=8)
    x, label = torch.randn(6, *shape), torch.tensor([0, 1, 2, 3, 0, 1])
    assert torch.equal(judge(x, label), torch.zeros(6))
    for weight in judge.parameters():
        nn.init.normal_(weight, std=0.3)
    scores = judge(x, label)
    alone = torch.cat([judge(x[[row]], label[[row]]) for row in range(6)])
    # Scores are sums of thousands of products: their last bits depend on the CPU, and there on the number of rows.
    torch.testing.assert_close(alone, scores, rtol=1e-5, atol=1e-5 * float(scores.abs().max()))
    assert not torch.allclose(judge(x, (label + 1) % 4), scores)
    scores.sum().backward()
    assert all(weight.grad is not None for weight in judge.parameters())


def test_judge_and_discriminator_part_ways(points: Path) -> None:
    """Two modules over one memory, of which one learns."""
    settings, dataset = recipe(), open_dataset(points)
    training = Training(settings, dataset, Processes("cpu"), teachers_for(settings, dataset))
    phase = training.phase
    assert phase is not None
    before = [value.clone() for value in phase.discriminator.parameters()]
    for step in (1, 2, 3):
        training.step(step)
    pairs = list(zip(phase.judge.discriminator.parameters(), phase.discriminator.parameters(), strict=True))
    assert all(torch.equal(mine, theirs) and not mine.requires_grad and mine.grad is None for mine, theirs in pairs)
    assert any(not torch.equal(now, then) for (_, now), then in zip(pairs, before, strict=True))


def test_phase_begins_with_nothing_to_judge() -> None:
    """At once, without trained weights; after the run; of a method that has none."""
    init = {"teacher": Path("teacher"), "init": Path("trained")}
    assert settle(recipe(start_step=1), init)[0].objective.adversary.start_step == 1  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match=r"adversary.start_step is 1, when ctm has learned no jump .* or --init"):
        settle(recipe(start_step=1), {"teacher": Path("teacher")})
    tree = recipe().model_dump(mode="json")
    del tree["objective"]["adversary"]["start_step"]
    with pytest.raises(ValueError, match=r"objective.adversary.start_step: required"):
        parse_recipe(tree, "mine")


def test_phase_that_never_comes_is_waited_for() -> None:
    """Refused with the recipe, before any data is read."""
    with pytest.raises(ValueError, match=r"run.steps is 6: objective.adversary.start_step is 7, after the last step;"):
        recipe(start_step=7)


@pytest.mark.usefixtures("plain_cards")
def test_resumed_without_its_discriminator(tmp_path: Path, points: Path, stop_after: Any) -> None:
    settings, without, dataset = recipe(), recipe(start_step=0), open_dataset(points)
    lenders: Lenders = teachers_for(settings, dataset)
    train(settings, dataset, tmp_path / "run", stop=stop_after(3), lenders=lenders)
    with pytest.raises(ValueError, match=r"objective.adversary was \[on\] and is \[off\] now"):
        train(without, dataset, tmp_path / "run", resume=True, lenders=lenders)

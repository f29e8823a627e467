"""bf16 is for the forward pass: not for derivatives, and not for weights, all of which keep their gradient."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from models.build import MLPArchitecture, build
from tests.trainer.processes.cases import case, three_steps, whole
from trainer.data.dataset import open_dataset
from trainer.loop import train
from trainer.objectives import methods
from trainer.objectives.meanflow import MeanFlow
from trainer.objectives.parts.moment import Moment
from trainer.objectives.parts.objective import Draws
from trainer.objectives.parts.target import Batch, Condition, Networks, Target
from trainer.objectives.parts.times import TwoTimes
from trainer.precision import Precision, allow_products
from trainer.recipe import Recipe
from trainer.step import Loss

pytestmark = pytest.mark.usefixtures("plain_cards")

ROWS = 16


@pytest.fixture
def parts() -> Callable[..., tuple[Loss, Batch, Draws]]:
    """A loss over a network whose weights are all random, and a batch for it."""

    def make(precision: Precision, backend: str = "forward", **settings) -> tuple[Loss, Batch, Draws]:
        torch.manual_seed(0)
        flow_map = build(MLPArchitecture(width=16, depth=2), (3,), labels=2, span="any")
        for weight in flow_map.parameters():
            torch.nn.init.normal_(weight, std=0.3)
        objective = MeanFlow(times=TwoTimes(jumps=0.5), derivative={"backend": backend}, **settings)
        label = torch.randint(0, 3, (ROWS,))
        batch = Batch(torch.randn(ROWS, 3), torch.randn(ROWS, 3), Condition(label), label == 2)
        draws = objective.draw(ROWS, torch.Generator().manual_seed(1), Moment(1, 1))
        return Loss(flow_map, objective, 2, precision=precision), batch, draws

    return make


@pytest.mark.parametrize("backend", ["joint", "forward", "difference", "one-sided"])
def test_derivative_is_taken_in_bfloat16(parts, backend: str) -> None:
    """The derivative has float32's accuracy, while the loss of the other rows shows bfloat16's."""
    terms = {}
    for precision in ("fp32", "bf16"):
        loss, batch, draws = parts(precision, backend)
        terms[precision] = loss(batch, draws, Moment(1, 1))[1]
    exact, found = terms["fp32"], terms["bf16"]
    # v_c and u(z, t, s) do not enter the derivative's tangent; nothing in it is rounded to 8 bits.
    torch.testing.assert_close(found["derivative"], exact["derivative"], rtol=1e-6, atol=0)
    assert not torch.equal(found["loss/velocity"], exact["loss/velocity"])
    torch.testing.assert_close(found["loss/velocity"], exact["loss/velocity"], rtol=0.05, atol=0.02)


def test_guided_evaluation_leaves_weights_without_gradient(parts) -> None:
    """Weights that were cast without gradient must not be used again by the pass that has one."""
    loss, batch, draws = parts("bf16", guidance={"kappa": 0.4})
    loss(batch, draws, Moment(1, 1))[0].backward()
    for name, weight in loss.flow_map.named_parameters():
        assert weight.dtype == torch.float32
        assert weight.grad is not None, name
        assert weight.grad.any(), name


def test_weights_are_saved_in_half_precision(
    tmp_path: Path, tiny: Callable[..., Recipe], points: Path, weights
) -> None:
    dataset = open_dataset(points)
    sizes = []
    for precision in ("fp32", "bf16"):
        checkpoint = train(tiny("points/meanflow", f"run.precision={precision}"), dataset, tmp_path / precision)
        sizes.append({name: len(content) for name, content in weights(checkpoint).items()})
    assert sizes[0] == sizes[1]


@pytest.mark.parametrize(("precision", "allowed"), [("fp32", False), ("tf32", True), ("bf16", False)])
def test_products_are_of_another_precision(precision: Precision, allowed: bool) -> None:
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    try:
        allow_products(precision)
        assert torch.backends.cuda.matmul.allow_tf32 is torch.backends.cudnn.allow_tf32 is allowed
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def test_operations_are_counted_wrongly(parts) -> None:
    """By hand for the perceptron: forward once a row, backward twice (but for z), and what the derivative adds."""
    counts = {}
    for backend in ("joint", "forward", "difference", "one-sided"):
        loss, batch, draws = parts("fp32", backend)
        value, _ = loss(batch, draws, Moment(1, 1))
        value.backward()
        before = [weight.grad.clone() for weight in loss.flow_map.parameters()]
        counts[backend] = loss.flops(batch, draws, Moment(1, 1))
        assert loss.flops(batch, draws, Moment(1, 1)) == counts[backend]
        assert all(torch.equal(weight.grad, old) for weight, old in zip(loss.flow_map.parameters(), before))
    seen: set[str] = set()
    loss, batch, draws = parts("fp32")
    loss.flow_map.register_forward_pre_hook(lambda _, inputs: seen.add(inputs[0].device.type))
    loss.flops(batch, draws, Moment(1, 1))
    assert seen == {"meta"}  # the peak of memory in the log is that of the steps
    matrices = [weight.numel() for weight in loss.flow_map.parameters() if weight.dim() == 2]
    labels = loss.flow_map.net.conditioning.label.weight.numel()
    evaluation = 2 * (sum(matrices) - labels)  # looking a label up is no product
    assert counts["forward"] - counts["joint"] == ROWS // 2 * evaluation
    assert counts["one-sided"] < counts["difference"]
    assert counts["difference"] - counts["one-sided"] == ROWS // 2 * evaluation
    assert 2 * ROWS * evaluation < counts["one-sided"] < 4 * ROWS * evaluation


def test_objective_that_looks_at_content_ends_the_run(parts) -> None:
    """Its operations are unknown."""
    loss, batch, draws = parts("fp32")
    objective = loss.objective

    def looks(networks: Networks, batch: Batch, draws: Draws, step: int) -> Target:
        assert batch.x0.sum().item() != 0
        return objective(networks, batch, draws, step)

    loss.objective = looks
    loss(batch, draws, Moment(1, 1))
    assert loss.flops(batch, draws, Moment(1, 1)) is None


@pytest.mark.parametrize("method", [name for name, objective in methods().items() if objective.jvp])
def test_recipe_takes_a_derivative_under_autocast(points: Path, method: str) -> None:
    """It is refused where it happens, and no recipe gets there: each method, with each way to take it, in bf16."""
    for backend in ("joint", "forward", "difference", "one-sided"):
        recipe = case("mlp", {**whole(method), "derivative": {"backend": backend}}, run={"precision": "bf16"})
        found = three_steps(recipe, points)
        assert all(torch.isfinite(value).all() for value in found.values())


def test_derivative_under_autocast_is_taken(parts) -> None:
    """Negative control: the refusal that the recipes above would have met."""
    loss, batch, draws = parts("fp32")
    with torch.autocast("cpu", torch.bfloat16), pytest.raises(RuntimeError, match="autocast"):
        loss(batch, draws, Moment(1, 1))

"""The learned log-variance of sCM: what it settles at, what that does to the network's gradient, and where it goes."""

from __future__ import annotations

import pytest
import torch

from models.build import MLPArchitecture, build
from models.checkpoint import CheckpointConfig
from tests.trainer.teachers import teachers_for
from trainer.data.dataset import open_dataset
from trainer.objectives.parts.log_variance import LogVariance
from trainer.objectives.parts.normalised_tangent import NormalisedTangent
from trainer.objectives.sct import ContinuousConsistencyTraining
from trainer.oracle import Gaussian
from trainer.processes import Processes
from trainer.training import Training

DATA = Gaussian(0.7, 0.4)
ROWS = 2000


def test_weight_is_not_the_mean(pairs, ask) -> None:
    """At rest exp(-w) times the weighted square has the mean 1 against every feature of tau, so w is its log mean."""
    companion = LogVariance()
    torch.nn.init.normal_(companion.mix.weight, std=0.05, generator=torch.Generator().manual_seed(1))
    objective = ContinuousConsistencyTraining(
        flow_matching_steps=0, tangent=NormalisedTangent(warmup_steps=0, constant=None)
    )

    def u(z, t, s, label):
        return 0.3 * z

    batch = pairs(DATA, ROWS)
    optimiser = torch.optim.LBFGS(companion.parameters(), max_iter=100, line_search_fn="strong_wolfe")

    def loss():
        optimiser.zero_grad()
        value = ask(objective, u, batch, companion=companion).losses().mean()
        value.backward()
        return value

    optimiser.step(loss)
    answer = ask(objective, u, batch, companion=companion)
    square = answer.losses() - answer.also
    assert square.mean().item() == pytest.approx(1.0, abs=1e-3)
    # Twice the variance moves w by log 2 and the rest by nothing.
    assert (answer.also.max() - answer.also.min()).item() > 1


def test_fresh_weight_is_not_one() -> None:
    assert torch.equal(LogVariance()(torch.rand(5)), torch.zeros(5))


@pytest.mark.parametrize("learned", [True, False])
def test_some_phase_leaves_it_without_gradient(pairs, ask, learned: bool) -> None:
    """Several processes wait for the gradient of every weight, also in flow matching, where it is zero."""
    objective = ContinuousConsistencyTraining(flow_matching_steps=5, learned_weight=learned)
    companion = LogVariance() if learned else None
    network = build(MLPArchitecture(width=8, depth=1), (1,), labels=1, span="endpoint").double()
    for step, zero in ((5, True), (6, False)):
        answer = ask(objective, network, pairs(DATA, 20), step=step, companion=companion)
        answer.losses().mean().backward()
        assert ("log_variance" in answer.terms) == (learned and not zero)
        if companion is not None:
            gradients = [weight.grad for weight in companion.parameters()]
            assert all(gradient is not None for gradient in gradients)
            assert all(torch.equal(gradient, torch.zeros_like(gradient)) == zero for gradient in gradients)


def test_other_standard_deviation_is_accepted(points, tiny) -> None:
    """One that the network does not count on."""
    dataset = open_dataset(points)
    with pytest.raises(
        ValueError, match=r"objective.sigma_data is 0.4 and model.sigma_data 0.5; .* give both the same"
    ):
        tiny("points/sct", "objective.sigma_data=0.4")
    for more in (["model.sigma_data=0.4"], ["model.parametrisation=raw"]):
        Training(tiny("points/sct", "objective.sigma_data=0.4", *more), dataset, Processes("cpu"))


@pytest.mark.parametrize("method", ["ayf-emd", "ayf-lmd"])
def test_autoguidance_is_refused_without_labels(points, tiny, method: str) -> None:
    """It must not be: it needs a weak teacher, no label."""
    dataset, recipe = open_dataset(points), tiny(f"points/{method}")
    lenders = teachers_for(recipe, dataset)
    assert lenders.weak_teacher is not None
    training = Training(recipe, dataset, Processes("cpu"), lenders)
    assert isinstance(training.config, CheckpointConfig)
    assert training.config.guidance is not None
    assert training.config.guidance.default == 2
    training.step(1)

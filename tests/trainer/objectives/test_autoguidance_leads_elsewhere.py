"""Autoguidance: away from the weak teacher by the strength that the student is told, and nowhere without one."""

import pytest
import torch
from torch import Tensor

from trainer.objectives.ayf_emd import EulerianMapDistillation
from trainer.objectives.ayf_lmd import LagrangianMapDistillation
from trainer.objectives.parts.autoguidance import Autoguidance, taught_velocity
from trainer.objectives.parts.moment import Moment
from trainer.objectives.parts.normalised_tangent import NormalisedTangent
from trainer.objectives.parts.target import Condition, Networks
from trainer.oracle import Gaussian
from trainer.oracle.integrate import average_velocity

STRONG, WEAK = Gaussian(0.7, 0.4), Gaussian(0.5, 0.8)
ROWS = 300
WARM = NormalisedTangent(warmup_steps=0, constant=None)
METHODS = [EulerianMapDistillation, LagrangianMapDistillation]


def of(data: Gaussian):
    return lambda z, t, label: data.velocity(z, t)


def told(batch, objective):
    """The batch as training would make it: the condition has the strengths that were drawn."""
    draws = objective.draw(len(batch.x0), torch.Generator().manual_seed(0), Moment(1, 1))
    return batch._replace(condition=Condition(batch.condition.label, draws.guidance))


@pytest.mark.parametrize("strength", [0.5, 1.0, 2.5])
def test_mix(strength: float) -> None:
    """lambda v + (1 - lambda) v_weak; 1 is the teacher."""
    z, t, label = torch.tensor([[0.3], [-1.2]]), torch.tensor([0.9, 0.4]), torch.zeros(2, dtype=torch.long)
    networks = Networks(None, None, 0, teacher=of(STRONG), weak=of(WEAK))
    found = taught_velocity(networks, z, t, Condition(label, torch.full((2,), strength)))
    torch.testing.assert_close(found, strength * STRONG.velocity(z, t) + (1 - strength) * WEAK.velocity(z, t))
    torch.testing.assert_close(taught_velocity(networks, z, t, Condition(label)), STRONG.velocity(z, t))


@pytest.mark.parametrize("method", METHODS)
def test_equal_teachers_leave_no_trace(method, pairs, ask) -> None:
    """With v_weak = v_teacher the strength has no effect; with another it has."""

    def u(z: Tensor, t: Tensor, s: Tensor, label: Tensor, guidance: Tensor | None = None) -> Tensor:
        return torch.sin(z) * (1 + t * s)[:, None]

    plain, guided = method(tangent=WARM, autoguidance=None), method(tangent=WARM)
    batch = pairs(STRONG, ROWS)
    alone = ask(plain, u, batch, teacher=of(STRONG))
    same = ask(guided, u, told(batch, guided), teacher=of(STRONG), weak=of(STRONG))
    other = ask(guided, u, told(batch, guided), teacher=of(STRONG), weak=of(WEAK))
    torch.testing.assert_close(same.target, alone.target)
    assert (other.target - alone.target).abs().max() > 0.1


@pytest.mark.parametrize("method", METHODS)
def test_student_of_one_strength_learns_another(method, pairs, ask) -> None:
    """Rows of several strengths share a batch; the map of each row's own guided flow is at rest, another is not."""

    def flow_of(shift: float):
        def u(z: Tensor, t: Tensor, s: Tensor, label: Tensor, guidance: Tensor) -> Tensor:
            strength = (guidance + shift)[:, None]

            def velocity(z: Tensor, t: Tensor) -> Tensor:
                return strength * STRONG.velocity(z, t) + (1 - strength) * WEAK.velocity(z, t)

            return average_velocity(velocity, z, t, s, steps=6)

        return u

    objective = method(tangent=WARM)
    batch = told(pairs(STRONG, ROWS), objective)
    for shift, rests in ((0.0, True), (0.3, False)):
        answer = ask(objective, flow_of(shift), batch, teacher=of(STRONG), weak=of(WEAK))
        assert ((answer.target - answer.prediction).abs().max() < 1e-4) == rests


def test_strength_without_a_weak_teacher(pairs, ask) -> None:
    objective = EulerianMapDistillation()
    with pytest.raises(ValueError, match="--weak-teacher CHECKPOINT, or autoguidance: null"):
        ask(objective, lambda z, *_: z, told(pairs(STRONG, 4), objective), teacher=of(STRONG))


def test_range_decides_the_input() -> None:
    assert Autoguidance().input.model_dump() == {"min": 1.0, "max": 3.0, "default": 2.0}
    assert Autoguidance(range=(1, 4), law="log-uniform").input.default == 2.0
    assert Autoguidance(range=(1, 4), default=1.5).input.default == 1.5
    plain = EulerianMapDistillation(autoguidance=None)
    assert (plain.guidance_input, plain.guided, EulerianMapDistillation().guided) == (None, None, "1 to 3")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"range": (3, 1)}, "the smaller value comes first"),
        ({"range": (1, 3), "default": 4}, "outside the range 1 to 3"),
        ({"range": (0, 3)}, "greater than 0"),
    ],
)
def test_senseless_range(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Autoguidance(**settings)


@pytest.mark.parametrize("law", ["uniform", "log-uniform"])
def test_law_of_the_strengths(law: str) -> None:
    drawn = Autoguidance(range=(1, 3), law=law).draw(20_000, torch.Generator().manual_seed(0))
    assert 1 <= drawn.min() < 1.001 < 2.999 < drawn.max() <= 3
    assert drawn.median().item() == pytest.approx(2.0 if law == "uniform" else 3**0.5, abs=0.03)

"""SplitMeanFlow where another map walks: a teacher, and a map of one scale of guidance that is led to a range."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from models.flow_map import per_sample
from trainer.objectives.parts.guidance import Guidance
from trainer.objectives.parts.target import Batch
from trainer.objectives.parts.times import TwoTimes
from trainer.objectives.split_meanflow import SplitMeanFlow
from trainer.oracle import Gaussian
from trainer.oracle.integrate import average_velocity
from trainer.recipe import load_recipe

NULL, KNOWN, SCALES = 1, 1.5, (1.0, 1.5, 3.0)
DATA = [Gaussian(0.7, 0.4), Gaussian(-0.2, 0.9)]  # of the class, and without a label
JUMPS = TwoTimes(jumps=1.0)
RANGE = Guidance(range=(1.0, 3.0))


def led(**settings) -> SplitMeanFlow:
    return SplitMeanFlow(**{"times": JUMPS, "guidance": RANGE, "walked_scale": KNOWN, "cuts": "even", **settings})


def told(batch: Batch) -> Batch:
    """The same pairs: two in three of the class, the others without a label; scales in turns."""
    rows = torch.arange(len(batch.x0))
    label = torch.where(rows % 3 == 2, NULL, 0)
    scale = torch.tensor(SCALES)[rows // 3 % len(SCALES)]
    condition = type(batch.condition)(label, scale)
    return batch._replace(condition=condition, dropped=label == NULL)


def guided(z: Tensor, t: Tensor, s: Tensor, label: Tensor, scale: Tensor) -> Tensor:
    """The average velocity of the guided flow, integrated; without a label that of the plain one."""

    def velocity(z: Tensor, t: Tensor) -> Tensor:
        w = per_sample(torch.where(label == NULL, 0.0, scale), z)
        return w * DATA[0].velocity(z, t) + (1 - w) * DATA[1].velocity(z, t)

    return average_velocity(velocity, z, t, s, steps=16)


def known(z: Tensor, t: Tensor, s: Tensor, label: Tensor, scale: Tensor) -> Tensor:
    """A map of one scale, whatever it is told."""
    return guided(z, t, s, label, torch.full_like(scale, KNOWN))


def errors(objective: SplitMeanFlow, batch: Batch, ask) -> dict[float, float]:
    """By scale, how far targets are from the guided jump; of dropped labels under 0."""
    answer = ask(objective, guided, batch, null_label=NULL, lagged=known)
    error = (answer.target - answer.prediction).abs().flatten(1).amax(1)
    scale = torch.where(batch.dropped, 0.0, batch.condition.guidance)
    return {each: float(error[scale == each].max()) for each in (0.0, *SCALES)}


def test_scale_is_another(pairs, ask) -> None:
    """Short pieces lead to the guided flow, the error falling with their length; the known scale needs none."""
    batch = told(pairs(DATA[0], 45))
    few, many = (errors(led(pieces=pieces), batch, ask) for pieces in (8, 32))
    for scale in SCALES:
        assert many[scale] < (1e-6 if scale == KNOWN else 0.06)
    assert many[0.0] < 1e-6  # without a label there is nothing to lead
    for scale in (1.0, 3.0):
        assert many[scale] < 0.4 * few[scale]


def test_led_from_another_scale(pairs, ask) -> None:
    """Negative controls: taken for the map of scale 2, or not led at all."""
    batch = told(pairs(DATA[0], 45))
    wrong = errors(led(pieces=32, walked_scale=2.0), batch, ask)
    assert min(wrong[scale] for scale in SCALES) > 0.1
    still = errors(SplitMeanFlow(times=TwoTimes(jumps=0.99), guidance=RANGE, pieces=32, cuts="even"), batch, ask)
    assert min(still[scale] for scale in (1.0, 3.0)) > 0.1


def test_map_is_asked_at_scales_it_never_knew(pairs, ask) -> None:
    """The one that walks is told the known scale alone, and the one in training each row's own."""
    batch, asked = told(pairs(DATA[0], 60)), {"u": set(), "lagged": set()}

    def noting(name: str):
        def u(z, t, s, label, scale):
            asked[name] |= set(scale.tolist())
            return 0 * z

        return u

    ask(led(), noting("u"), batch, null_label=NULL, lagged=noting("lagged"))
    assert asked == {"u": set(SCALES), "lagged": {KNOWN}}


def test_interval_and_start_are_forgotten(pairs, ask) -> None:
    """Pieces that begin outside of [t_start, t_end], and all before start_step, are led to 1, the plain model."""
    batch = told(pairs(DATA[0], 45))
    u = lambda z, t, s, label, scale: per_sample(torch.where(label == NULL, 0.0, KNOWN), z) + 0 * z  # noqa: E731
    labelled = ~batch.dropped

    def targets(step: int, **guidance) -> Tensor:
        objective = led(pieces=4, whole=1.0, guidance=Guidance(range=(1.0, 3.0), **guidance))
        return ask(objective, u, batch, null_label=NULL, step=step).target[:, 0]

    scale = batch.condition.guidance
    assert torch.allclose(targets(1)[labelled], scale[labelled])  # the null is 0 here and the class, of scale w, w
    assert torch.allclose(targets(1, t_start=0.4, t_end=0.8)[labelled], (2 + 2 * scale[labelled]) / 4)
    assert torch.allclose(targets(4, start_step=5)[labelled], torch.ones_like(scale[labelled]))
    assert torch.allclose(targets(5, start_step=5)[labelled], scale[labelled])
    assert (targets(1)[~labelled] == 0).all()


def test_teacher_stands_by(pairs, ask) -> None:
    """Given one, it walks, and not the averaged weights."""
    batch = pairs(DATA[0], 64)
    own, lagged, teacher = (lambda z, t, s, label, at=at: at + 0 * z for at in (1, 3, 5))
    answer = ask(SplitMeanFlow(times=JUMPS), own, batch, lagged=lagged, walker=teacher)
    assert answer.target.round(decimals=9).unique().tolist() == [5.0]
    assert answer.prediction.unique().tolist() == [1.0]


REFUSED = {
    "walked_scale: 2": "walked_scale is 2, which guidance.range has to hold, and there is none",
    "guidance: {range: [1, 3]}, walked_scale: 4": r"walked_scale is 4, .* and it is \[1.0, 3.0\]",
    "guidance: {range: [1, 3]}, times: {jumps: 1}": "times.jumps is 1, so nothing would be guided",
    "guidance: {omega: 2}, times: {jumps: 1}": "times.jumps is 1, so nothing would be guided",
    "guidance: {range: [1, 3]}, walked_scale: 2, label_dropout: 0": "guidance mixes in the null label",
}


@pytest.mark.parametrize("settings", REFUSED)
def test_nonsense_is_taken(settings) -> None:
    with pytest.raises(ValueError, match=REFUSED[settings]):
        load_recipe("points/split-meanflow", [f"objective={{method: split-meanflow, {settings}}}"])

"""The networks beside the one in training: averaged weights for targets, a companion, and teachers."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import ValidationError
from torch import nn

from models.checkpoint import CheckpointConfig, find_checkpoint, find_weights, load_checkpoint
from models.flow_map import FlowMap
from trainer.adversary import Judge
from trainer.objectives import methods
from trainer.objectives.parts.objective import Objective

Role = Literal["teacher", "weak_teacher", "init"]


@dataclass(frozen=True)
class Lender:
    """A trained checkpoint that another run takes something from.

    Attributes:
        flow_map: in evaluation mode, without gradient.
        origin: which one it was, for the checkpoint of that run; no path, since a folder may move.
    """

    flow_map: FlowMap
    config: CheckpointConfig
    origin: dict[str, Any]


@dataclass(frozen=True)
class Lenders:
    """The checkpoints that a run was given."""

    teacher: Lender | None = None
    weak_teacher: Lender | None = None
    init: Lender | None = None

    def __iter__(self) -> Iterator[tuple[Role, Lender]]:
        """Those that there are."""
        pairs: tuple[tuple[Role, Lender | None], ...] = (
            ("teacher", self.teacher),
            ("weak_teacher", self.weak_teacher),
            ("init", self.init),
        )
        return iter([(role, lender) for role, lender in pairs if lender is not None])

    def refuse_misfit(self, config: CheckpointConfig) -> None:
        """Raise ValueError where one of them cannot be of use to a run that would save `config`."""
        for role, lender in self:
            option = f"--{role.replace('_', '-')}"
            pairs = {
                "is of kind": (lender.config.kind, config.kind),
                "is for data of shape": (lender.config.shape, config.shape),
                "knows the classes": (lender.config.labels, config.labels),
            }
            for what, (theirs, ours) in pairs.items():
                if theirs != ours:
                    raise ValueError(f"{option} {what} {_told(theirs)}, and this run's are {_told(ours)}; give another")
            if role == "weak_teacher" and self.teacher is not None and _same_weights(lender, self.teacher):
                raise ValueError(
                    f"{option} is the teacher itself, so that autoguidance would lead nowhere; give a worse one: "
                    "smaller, or trained for less (an earlier checkpoint, say)"
                )
            if role != "init" and lender.config.span not in ("velocity", "any"):
                raise ValueError(
                    f"{option} is a {lender.config.method} model, of span {lender.config.span}, which has no "
                    "velocity to teach; give one of flow-matching, or of a method of span any"
                )
            if role != "init" and lender.config.t_max < config.t_max:
                raise ValueError(
                    f"{option} knows times up to {lender.config.t_max:.4g}, and {config.method} asks for its velocity "
                    f"up to {config.t_max:.4g}; give one that was trained up to there"
                )
            if role == "init" and lender.config.architecture != config.architecture:
                raise ValueError(
                    f"{option} has the network [{lender.config.architecture}], and this run's is "
                    f"[{config.architecture}]; set the recipe's model to that one"
                )
        self._refuse_other_scale(config)

    def _refuse_other_scale(self, config: CheckpointConfig) -> None:
        """Raise ValueError where what walks a method's pieces is guided by another scale than `walked_scale` says."""
        objective = _objective(config)
        walked = None if objective is None else objective.scale_walked
        option, walker = ("--teacher", self.teacher) if self.teacher is not None else ("--init", self.init)
        if walked is None or walker is None:
            return
        if walker is self.init and walker.config.guidance is not None:
            return  # its own input is told it
        learned = _objective(walker.config)
        scale = None if learned is None else learned.scale_of(walker.config.step)
        if scale is not None and abs(scale - walked) > 0.01 * walked:
            raise ValueError(
                f"{option} is guided by {scale:.3g}, and objective.walked_scale is {walked:g}; set it to {scale:.3g}"
            )


NOBODY = Lenders()


def lender(path: Path, ema: str | None = None) -> Lender:
    """Read a checkpoint, or a run's newest one, to take something from.

    Raises:
        ValueError, FileNotFoundError: says which file is wrong.
    """
    folder = find_checkpoint(path)
    flow_map, config = load_checkpoint(folder, ema)
    try:
        _objective(config)
    except ValueError as error:
        raise ValueError(f"{folder / 'config.json'}: {error}") from None
    name, file = find_weights(folder, config, ema)
    origin = {
        "method": config.method,
        "step": config.step,
        "weights": name,
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        "data": {key: config.data[key] for key in ("name", "sha256", "licence") if key in config.data},
        **({"origin": config.origin} if config.origin else {}),
        **({"guided": guided} if (guided := _guided(config)) else {}),
    }
    return Lender(flow_map.requires_grad_(False), config, origin)


def _same_weights(one: Lender, other: Lender) -> bool:
    return bool(one.origin["sha256"] == other.origin["sha256"])


def _guided(config: CheckpointConfig) -> str | None:
    """The scale that its velocity is guided by when it is asked, for a person; None for a plain model."""
    if config.guidance is not None:
        return None if config.guidance.default == 1 else f"{config.guidance.default:g}"
    objective = _objective(config)
    return objective.guided if objective is not None and objective.guides_by(config.step) else None


def _objective(config: CheckpointConfig) -> Objective | None:
    """The method and its settings; None for a checkpoint without a recipe.

    Raises:
        ValueError: they are none that this version knows.
    """
    if not config.recipe:
        return None
    of = methods().get(config.method)
    wrong = f"method: there is no {config.method}"
    if of is not None:
        try:
            return of.model_validate(config.recipe.get("objective"))
        except ValidationError as error:
            first = error.errors()[0]
            wrong = f"{'.'.join(['recipe.objective', *map(str, first['loc'])])}: {first['msg']}"
    raise ValueError(f"{wrong} in this longjump; use the version that wrote it, or a newer one")


def begin_from(flow_map: FlowMap, init: Lender) -> None:
    """Take the weights of a trained network; an input that it has not, guidance say, changes nothing at first.

    Raises:
        ValueError: the weights do not fit.
    """
    found = flow_map.load_state_dict(init.flow_map.state_dict(), strict=False)
    missing = [name for name in found.missing_keys if ".conditioning.guidance." not in name and ".augment." not in name]
    if missing or found.unexpected_keys:
        wrong = (missing + list(found.unexpected_keys))[0]
        raise ValueError(f"--init is another network: {wrong} is in one of the two only")
    for name in found.missing_keys:  # the augmentation's weights are zero anyway
        if ".conditioning.guidance.mlp.2." in name:
            nn.init.zeros_(flow_map.get_parameter(name))


class Lagged:
    """A copy of a flow map that follows it at a decay: theta-minus of the methods that average their targets' weights.

    Another average than `trainer.ema.PowerEMA`, which is for samples: its decay is the method's, and training depends
    on it.
    """

    def __init__(self, flow_map: FlowMap) -> None:
        self.flow_map = copy.deepcopy(flow_map).requires_grad_(False)

    @torch.no_grad()
    def update(self, flow_map: FlowMap, decay: float) -> None:
        """theta-minus <- decay * theta-minus + (1 - decay) * theta."""
        theirs = list(self.flow_map.state_dict().values())
        torch._foreach_lerp_(theirs, list(flow_map.state_dict().values()), 1 - decay)


@dataclass(frozen=True)
class Company:
    """What `trainer.step.Loss` asks besides the flow map in training; the judge in an adversarial phase."""

    lagged: FlowMap | None = None
    teacher: Lender | None = None
    weak_teacher: Lender | None = None
    companion: nn.Module | None = None
    judge: Judge | None = None


ALONE = Company()


def _told(value: object) -> str:
    return f"{', '.join(map(str, value)) or 'none'}" if isinstance(value, tuple) else str(value)

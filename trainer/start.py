"""What a run starts from besides its recipe and data: the checkpoints on the command line, and what they decide."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from trainer.adversary import adversary_of
from trainer.company import Lenders, Role, lender
from trainer.objectives.parts.align_your_flow import AlignYourFlow
from trainer.objectives.parts.flow_first import FlowFirst
from trainer.recipe import Recipe


def settle(recipe: Recipe, given: Mapping[Role, Path]) -> tuple[Recipe, list[str]]:
    """The recipe as the given checkpoints leave it, and what a person should know about it, a line each.

    With `init` a method that would begin with a phase of flow matching begins without; without `weak_teacher` there is
    no autoguidance; a `teacher` that is optional takes the place of averaged weights. Nothing is read.

    Raises:
        ValueError: the method needs a checkpoint that is not given, or has no use for one that is.
    """
    objective, method, told = recipe.objective, recipe.objective.method, []
    if objective.teacher == "required" and "teacher" not in given:
        raise ValueError(
            f"{method} distils a trained model, and none is given: --teacher CHECKPOINT (train one with flow-matching "
            "on the same data first), or take a method without a teacher (longjump methods)"
        )
    changes = dict[str, object]()
    for role in ("teacher", "weak_teacher"):
        if role in given and objective.teacher == "none":
            raise ValueError(f"{method} has no teacher; leave --{role.replace('_', '-')} out")
    if objective.teacher == "optional" and "teacher" in given and objective.target_ema is not None:
        changes["target_ema"] = None
        told.append(f"{method}: the teacher makes the targets, so no weights are averaged for them (target_ema)")
    told += objective.check_given(given)
    autoguidance = objective.autoguidance if isinstance(objective, AlignYourFlow) else None
    if autoguidance is not None and "weak_teacher" not in given:
        changes["autoguidance"] = None
        told.append(f"{method}: without --weak-teacher there is no autoguidance, so its scale is 1")
    elif autoguidance is None and "weak_teacher" in given:
        raise ValueError(
            "--weak-teacher is for autoguidance, which this recipe does not have; "
            "--set 'objective.autoguidance={range: [1, 3]}', or leave it out"
            if isinstance(objective, AlignYourFlow)
            else f"--weak-teacher is for autoguidance, which {method} does not have; leave it out"
        )
    if isinstance(objective, FlowFirst) and "init" in given:
        changes["flow_matching_steps"] = 0
    adversary = adversary_of(objective)
    if adversary is not None and "init" not in given and adversary.start_step == 1:
        raise ValueError(
            f"objective.adversary.start_step is {adversary.start_step}, when {method} has learned no jump whose "
            "samples could be judged; give a later step, or --init CHECKPOINT"
        )
    if changes:
        recipe = recipe.model_copy(update={"objective": objective.model_copy(update=changes)})
    return recipe, told + recipe.objective.notes(recipe.run.steps)


def read_lenders(given: Mapping[Role, Path]) -> Lenders:
    """Read the given checkpoints. Raises ValueError or FileNotFoundError, which name the option."""
    found = {}
    for role, path in given.items():
        try:
            found[role] = lender(path)
        except (ValueError, FileNotFoundError) as error:
            kind = FileNotFoundError if isinstance(error, FileNotFoundError) else ValueError
            raise kind(f"--{role.replace('_', '-')}: {error}") from None
    return Lenders(found.get("teacher"), found.get("weak_teacher"), found.get("init"))

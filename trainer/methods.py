"""Show the methods: what each needs, where its map may be asked, how it is sampled, and which paper says so.

`teacher`: it distils a trained model, which `longjump train --teacher` takes. `JVP`: it takes a derivative of the
network along the flow, or a difference in its place. The span says which jumps its map knows: `velocity`, Euler steps;
`endpoint`, to the data only; `any`, from every time to every earlier one; `dyadic`, those of halves, quarters, ... to
1/128. For example:

    longjump methods
    longjump methods --json
"""

from __future__ import annotations

import argparse
import json
import textwrap
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainer.objectives import Objective

WIDTH = 100
"""Columns of the table, at most."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line of `longjump methods`."""
    parser.add_argument("--json", action="store_true", help="print them as JSON, for programs")


def run(args: argparse.Namespace) -> int:
    """Run `longjump methods`."""
    found = facts()
    print(json.dumps(found, indent=2) if args.json else table(found))
    return 0


def facts() -> list[dict[str, Any]]:
    """What is known of each method before it is given settings, by name; JSON values."""
    from trainer.objectives import methods
    from trainer.recipes import shipped

    recipes = shipped()
    return [
        {
            **_facts(name, objective),
            "recipes": [recipe for recipe in recipes if recipe.partition("/")[2] == name],
        }
        for name, objective in sorted(methods().items())
    ]


def table(found: list[dict[str, Any]]) -> str:
    """The same for a person: a line of facts, and what it does below."""
    head = ("method", "needs", "span", "sampler", "reference")
    rows = [(each["name"], _needs(each), each["span"], _sampler(each["sampler"]), each["reference"]) for each in found]
    widths = [max(map(len, column)) + 2 for column in list(zip(head, *rows, strict=True))[:-1]]

    def line(cells: tuple[str, ...]) -> list[str]:
        """The last cell is wrapped below itself where it is long."""
        start = "".join(cell.ljust(width) for cell, width in zip(cells[:-1], widths, strict=True))
        return textwrap.wrap(cells[-1], WIDTH, initial_indent=start, subsequent_indent=" " * len(start))

    lines = line(head)
    for row, each in zip(rows, found, strict=True):
        lines += [*line(row), *textwrap.wrap(each["summary"], WIDTH, initial_indent="    ", subsequent_indent="    ")]
    told = "'longjump train --list' shows recipes; --teacher CHECKPOINT gives a teacher; (teacher): optional."
    return "\n".join([*lines, "", told])


def _facts(name: str, objective: type[Objective]) -> dict[str, Any]:
    from trainer.objectives.parts.align_your_flow import AlignYourFlow
    from trainer.objectives.parts.flow_first import FlowFirst

    usual = objective()  # type: ignore[call-arg] # its method has a default
    return {
        "name": name,
        "summary": (objective.__doc__ or "").strip().partition("\n")[0],
        "teacher": objective.teacher == "required",
        "optional_teacher": objective.teacher == "optional",
        "weak_teacher": isinstance(usual, AlignYourFlow),
        "flow_matching_steps": usual.flow_matching_steps if isinstance(usual, FlowFirst) else 0,
        "jvp": objective.jvp,
        "span": objective.span,
        "sampler": usual.sampler.model_dump(mode="json"),
        "target_ema": objective.no_average is None,
        "reference": objective.reference,
    }


def _needs(found: dict[str, Any]) -> str:
    facts = (("teacher", found["teacher"]), ("(teacher)", found["optional_teacher"]), ("JVP", found["jvp"]))
    return ", ".join(word for word, needed in facts if needed) or "-"


def _sampler(sampler: dict[str, Any]) -> str:
    return f"gamma {sampler['gamma']:g}" if sampler["kind"] == "gamma" else str(sampler["kind"])

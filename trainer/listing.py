"""`longjump train --list`: the shipped recipes, a few facts each."""

from __future__ import annotations

from itertools import groupby

from trainer.recipe import load_recipe
from trainer.recipes import SHIPPED, shipped


def recipe_list() -> str:
    """The recipes under the data that they are for: method, network, length, and the recipe's own first line."""
    lines: list[str] = []
    for data, names in groupby(shipped(), key=lambda name: name.partition("/")[0]):
        group = list(names)
        kind = load_recipe(group[0]).kind
        lines += [*([""] if lines else []), f"{data} ({kind})"]
        for name in group:
            recipe = load_recipe(name)
            facts = (
                f"{recipe.objective.method}, {recipe.model.network}, {recipe.run.steps:,} steps of {recipe.run.batch}"
            )
            lines += [f"  {name}", f"      {facts}", *(f"      {line}" for line in (description(name),) if line)]
    return "\n".join(
        [
            *lines,
            "",
            "A recipe fits other data of its kind too. 'longjump train RECIPE --data PATH --dry-run' shows all of its",
            "settings and what it would cost here; '--set A.B=C' changes one; a .yaml file of your own is a recipe.",
        ]
    )


def description(name: str) -> str:
    """The first comment of a shipped recipe."""
    first = (SHIPPED / f"{name}.yaml").read_text("utf-8").partition("\n")[0]
    return first.removeprefix("#").strip() if first.startswith("#") else ""

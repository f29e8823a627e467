"""One file a method: a pure target function over the one jump. What they share is in `parts`.

A new method is a new file here that holds one subclass of `parts.objective.Objective`; nothing lists it.
"""

from __future__ import annotations

import importlib
import pkgutil

from trainer.objectives.parts.objective import Objective


def methods() -> dict[str, type[Objective]]:
    """The objectives by method name, such as flow-matching; found by looking into this folder."""
    found: dict[str, type[Objective]] = {}
    for module in pkgutil.iter_modules(__path__):
        if module.ispkg:
            continue
        owner = importlib.import_module(f"{__name__}.{module.name}")
        for value in vars(owner).values():
            if isinstance(value, type) and issubclass(value, Objective) and value.__module__ == owner.__name__:
                found[value.model_fields["method"].default] = value
    return found

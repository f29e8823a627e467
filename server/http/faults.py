"""What is wrong with a request's fields: which, with which value, and what would be right."""

from __future__ import annotations

import json
from difflib import get_close_matches
from typing import Any

from server.backend.model import Model

SEED_BOUND = 2**63
"""Seeds are 0 <= seed < SEED_BOUND; signed 64-bit integers everywhere can hold them."""

MAX_LISTED = 100
"""Labels that an error lists at most."""

MAX_FAULTS = 20
"""Errors that one answer names at most."""

_MAX_QUOTED = 80
"""Characters of a client's value that an error repeats."""


class Faults:
    """Collects the errors of one request to `model`."""

    def __init__(self, model: Model, max_images: int, served: list[str]) -> None:
        self._model = model
        self._max_images = max_images
        self.served = served
        """Names of the models that can be asked."""
        self.found: list[dict[str, Any]] = []
        """Each has `field` and `detail`, and mostly `value` and `allowed`."""

    def names(self, field: str) -> bool:
        """Whether something is wrong with a field already."""
        return any(fault["field"] == field for fault in self.found)

    def add(self, field: str, value: Any, detail: str | None = None, allowed: Any = None) -> None:
        """Note that a field's value is wrong; without `detail`, say what values are right."""
        if len(self.found) >= MAX_FAULTS:
            return
        if detail is None:
            right = self._right()
            if field in right:
                detail = f"{field}={_quote(value)} is not {right[field]}"
            else:
                detail = f"unknown field {_quote(field)}; the fields are {', '.join(right)}"
        fault: dict[str, Any] = {"field": field[:_MAX_QUOTED], "detail": detail}
        if value is not None:
            fault["value"] = value if isinstance(value, int) and abs(value) < SEED_BOUND else _quote(value)
        if allowed is not None:
            fault["allowed"] = allowed
        self.found.append(fault)

    def add_label(self, label: int | str) -> None:
        """Note that there is no such label, and list those that there are."""
        name, labels = self._model.name, self._model.manifest.labels
        if not labels:
            self.add("label", label, f"label={_quote(label)}: {name} has no labels; leave it out or give none")
            return
        listed = labels[:MAX_LISTED]
        nearest = get_close_matches(str(label)[:_MAX_QUOTED], labels, n=1)
        hint = f" (did you mean {nearest[0]}?)" if nearest else ""
        more = f" and {len(labels) - len(listed)} more (see /v1/models)" if len(labels) > len(listed) else ""
        detail = (
            f"label={_quote(label)} is unknown{hint}; {name} has {', '.join(listed)}{more}; "
            f"or give an index from 0 to {len(labels) - 1}, or none"
        )
        self.add("label", label, detail, listed)

    def _right(self) -> dict[str, str]:
        """For each field, what would be right, to follow the words "is not"."""
        name, guidance = self._model.name, self._model.manifest.guidance
        return {
            "steps": f"a number of steps that {name} supports: {', '.join(map(str, self._model.manifest.steps))}",
            "seed": f"a whole number from 0 to {SEED_BOUND - 1}",
            "label": "a label's index, its name, or none",
            "guidance": f"a number from {guidance.min:g} to {guidance.max:g}, the range of {name}"
            if guidance
            else f"1, the only scale of {name}, which has no guidance input",
            "n": f"a whole number from 1 to {self._max_images}, the most images in one request",
            "format": f"one of {', '.join(self._model.formats)}",
            "model": f"served here; this server has {', '.join(self.served)}",
        }


def _quote(value: Any) -> str:
    """A client's value as text for an error, cut if it is long."""
    try:
        text = value if isinstance(value, str) else json.dumps(value)
    except (ValueError, RecursionError):
        text = "something too long or too deep to repeat"
    text = text if text.isprintable() else repr(text)
    return text if len(text) <= _MAX_QUOTED else text[: _MAX_QUOTED - 3] + "..."

"""What is wrong with a request's fields: which, with which value, and what would be right."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence, Set
from difflib import get_close_matches
from typing import Any, NamedTuple

from server.backend.model import Model, names_of

SEED_BOUND = 2**63
"""Seeds are 0 <= seed < SEED_BOUND; signed 64-bit integers everywhere can hold them."""

MAX_DEADLINE_MS = 3_600_000
"""An hour; who can wait longer needs no deadline."""

MAX_LISTED = 100
"""Labels that an error lists at most."""

MAX_FAULTS = 20
"""Errors that one answer names at most."""

_MAX_QUOTED = 80
"""Characters of a client's value that an error repeats."""


class Right(NamedTuple):
    """What would be right for a field."""

    text: str
    """To follow the words "is not"."""
    allowed: Any
    """The same for a program: a list of values, or the ends of a range."""


class Faults:
    """Collects the errors of one request to `model`."""

    def __init__(
        self, model: Model, max_images: int, served: Sequence[Model], fields: Set[str], right: Mapping[str, Right]
    ) -> None:
        """`served`: the models that can be asked; `fields`: those that the endpoint takes; `right`: what is right for
        those that it alone has, or has in its own way."""
        self._model = model
        self._max_images = max_images
        self._served = served
        self.fields = fields
        self._own = right
        self.found: list[dict[str, Any]] = []
        """Each has `field` and `detail`, mostly `value`, and `allowed` wherever values or a range can be told."""

    def names(self, field: str) -> bool:
        """Whether something is wrong with a field already."""
        return any(fault["field"] == field for fault in self.found)

    def add(self, field: str, value: Any, detail: str | None = None, typed: bool = False) -> None:
        """Note that a field's value is wrong; without `detail`, say what values are right.

        `typed`: the value's type is JSON's, so that a text is shown as one: "1" is no number.
        """
        if len(self.found) >= MAX_FAULTS:
            return
        right = self._own.get(field) or (self._right().get(field) if field in self.fields else None)
        if detail is None:
            if right is not None:
                quotes = '"' if typed and isinstance(value, str) else ""
                detail = f"{field}={quotes}{_quote(value)}{quotes} is not {right.text}"
            else:
                detail = f"unknown field {_quote(field)}; the fields are {', '.join(self.fields)}"
        fault: dict[str, Any] = {"field": field[:_MAX_QUOTED], "detail": detail}
        if value is not None:
            fault["value"] = value if isinstance(value, int) and abs(value) < SEED_BOUND else _quote(value)
        if right is not None and right.allowed is not None:
            fault["allowed"] = right.allowed
        self.found.append(fault)

    def add_label(self, label: int | str, field: str = "label") -> None:
        """Note that there is no such label, and list those that there are."""
        name, labels = self._model.name, self._model.manifest.labels
        if not labels:
            self.add(field, label, f"{field}={_quote(label)}: {name} has no labels; leave it out or give none")
            return
        listed = labels[:MAX_LISTED]
        nearest = get_close_matches(str(label)[:_MAX_QUOTED], labels, n=1)
        hint = f" (did you mean {nearest[0]}?)" if nearest else ""
        more = f" and {len(labels) - len(listed)} more (see /v1/models)" if len(labels) > len(listed) else ""
        detail = (
            f"{field}={_quote(label)} is unknown{hint}; {name} has {', '.join(listed)}{more}; "
            f"or give an index from 0 to {len(labels) - 1}, or none"
        )
        self.add(field, label, detail)

    def _right(self) -> dict[str, Right]:
        """What would be right, for each field that several endpoints have."""
        model, manifest = self._model, self._model.manifest
        guidance = manifest.guidance
        served = names_of(self._served)
        label = Right("a label's index, its name, or none", manifest.labels[:MAX_LISTED] or ["none"])
        bound = Right("a whole number of steps, from 1", {"min": 1})
        ends = {"min": guidance.min, "max": guidance.max} if guidance else {"min": 1, "max": 1}
        return {
            "steps": Right(
                f"a number of steps that {model.name} supports: {', '.join(map(str, manifest.steps))}, or auto",
                [*manifest.steps, "auto"],
            ),
            "min_steps": bound,
            "max_steps": bound,
            "seed": Right(f"a whole number from 0 to {SEED_BOUND - 1}", {"min": 0, "max": SEED_BOUND - 1}),
            "label": label,
            "guidance": Right(
                f"a number from {guidance.min:g} to {guidance.max:g}, the range of {model.name}"
                if guidance
                else f"1, the only scale of {model.name}, which has no guidance input",
                ends,
            ),
            "n": Right(
                f"a whole number from 1 to {self._max_images}, the most images in one request",
                {"min": 1, "max": self._max_images},
            ),
            "format": Right(f"one of {', '.join(model.formats)}", list(model.formats)),
            "quality": Right("a whole number from 1 to 100", {"min": 1, "max": 100}),
            "model": Right(f"served here; this server has {', '.join(served)}", served),
            "deadline_ms": Right(
                f"a number of milliseconds above 0 and up to {MAX_DEADLINE_MS}",
                {"exclusive_min": 0, "max": MAX_DEADLINE_MS},
            ),
            "priority": Right("one of interactive, batch", ["interactive", "batch"]),
            "bitwise": Right("true or false", [True, False]),
            "stream": Right("one of first, every", ["first", "every"]),
            "on_disconnect": Right("one of cancel, finish", ["cancel", "finish"]),
        }


def _quote(value: Any) -> str:
    """A client's value as text for an error, cut if it is long."""
    try:
        text = value if isinstance(value, str) else json.dumps(value)
    except (ValueError, RecursionError):
        text = "something too long or too deep to repeat"
    text = text if text.isprintable() else repr(text)
    return text if len(text) <= _MAX_QUOTED else text[: _MAX_QUOTED - 3] + "..."

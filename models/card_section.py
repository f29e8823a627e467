"""The section of a model card that tells how good the model is: `longjump eval` writes it, and where the model becomes
another one it is taken out."""

from __future__ import annotations

import re

HEADING = "## Evaluation"

_SECTION = re.compile(rf"^{HEADING}\n.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)


def with_evaluation(card: str, section: str) -> str:
    """A model card with `section`, which begins with HEADING, in the place of the one before, or at its end."""
    found = _SECTION.search(card)
    if found:
        return card[: found.start()] + section + ("\n" if card[found.end() :] else "") + card[found.end() :]
    return f"{card.rstrip()}\n\n{section}"


def without_evaluation(card: bytes) -> bytes:
    """A model card without that section; one that has none is as it was, to the byte."""
    text = card.decode("utf-8", "surrogateescape")
    found = _SECTION.search(text)
    if found is None:
        return card
    before, after = text[: found.start()], text[found.end() :]
    return (before + after if after else before.rstrip() + "\n").encode("utf-8", "surrogateescape")

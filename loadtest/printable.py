"""What a server says, made fit for a terminal: nothing in it moves a cursor or turns writing round. Pure."""

from __future__ import annotations

from typing import Any


def printable(text: str) -> str:
    """In one line, and without what would speak to a terminal."""
    return _harmless(" ".join(text.split()))


def harmless(document: Any) -> Any:
    """A JSON document with no text or name in it that would speak to a terminal."""
    if isinstance(document, str):
        return _harmless(document)
    if isinstance(document, list):
        return [harmless(one) for one in document]
    if isinstance(document, dict):
        return {_harmless(name): harmless(one) for name, one in document.items()}
    return document


def _harmless(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)

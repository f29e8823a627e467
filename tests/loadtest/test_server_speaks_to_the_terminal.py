"""A server that lies about itself must not move the cursor, set the title or colour what a person reads."""

from __future__ import annotations

import pytest

from loadtest.differences import differences
from loadtest.measure import measure
from loadtest.messages import Findings
from loadtest.printable import harmless
from loadtest.settings import Settings
from loadtest.table import render
from loadtest.target import find

from .fake_server import fake_server

LIE = {"id": "\x1b]0;owned\x07fake", "fingerprint": "\x9b2J0f", "labels": ["cat", "\u200dzwj"]}


def harms(text: str) -> list[str]:
    return [letter for letter in text if not letter.isprintable() and letter != "\n"]


def test_names_and_kinds_of_a_lying_server_are_harmless() -> None:
    with fake_server(model=LIE, fault="paints", fault_after=4) as url:
        run = measure(Settings(url, rate=40, seconds=0.3, warmup=0, verify=0.3, max_lateness=10))
        labels = find(Settings(url, rate=1)).labels
    shown = render(run)
    assert harms(str(LIE["id"])), "control"
    assert harms(shown) == []
    assert "?]0;owned?fake (?2J0f)" in shown
    assert "the content type is text/" in shown
    other = run.model_copy(update={"server": run.server.model_copy(update={"model": {"id": "x"}})})
    assert harms("\n".join(differences(run, other))) == []
    assert labels == ("cat", "\u200dzwj"), "what is asked for stays what the server knows"


def test_idle_reply_of_a_lying_kind_is_refused_harmlessly() -> None:
    with (
        fake_server(fault="paints", fault_after=1) as url,
        pytest.raises(ValueError, match="the content type is") as one,
    ):
        measure(Settings(url, rate=40))
    assert harms(str(one.value)) == []


def test_fault_and_document_are_harmless_at_any_depth() -> None:
    findings = Findings()
    findings.fault("a\x1b[2J\nb")
    assert findings.examples == ["a?[2J b"]
    assert harmless({"\x1bq": [{"a": "\x07"}, 1, None]}) == {"?q": [{"a": "?"}, 1, None]}

"""Who is woken by an alert finds a page for it, and no page is left of an alert that is gone."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.deploy.queries import ROOT, rules

PAGE = ROOT / "docs" / "runbooks.md"

PARTS = ("Symptom", "What it means", "What to look at", "What to do")


def sections() -> dict[str, str]:
    """Heading -> text, of the headings that are names of alerts."""
    parts = re.split(r"(?m)^## (Longjump\w+)$", PAGE.read_text(encoding="utf-8"))[1:]
    return dict(zip(parts[::2], parts[1::2]))


def test_alerts_and_sections_are_the_same() -> None:
    assert list(sections()) == [rule["alert"] for rule in rules("alert")]


@pytest.mark.parametrize("rule", rules("alert"), ids=lambda rule: str(rule["alert"]))
def test_alert_leads_to_its_section(rule: dict[str, Any]) -> None:
    assert rule["annotations"]["runbook"] == f"docs/runbooks.md#{rule['alert'].lower()}"
    assert rule["labels"]["severity"] in ("page", "ticket")
    missing = [part for part in PARTS if f"**{part}.**" not in sections()[rule["alert"]]]
    assert not missing, f"{rule['alert']}: {missing}"

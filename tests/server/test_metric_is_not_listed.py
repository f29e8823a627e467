"""docs/serving.md lists every series of /metrics with its labels, and none that there is not."""

from __future__ import annotations

import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from .test_promtool_finds_fault import lively, shared

PAGE = Path(__file__).resolve().parents[2] / "docs" / "serving.md"


def listed() -> dict[str, set[str]]:
    """Name -> labels, of the page's table."""
    table = PAGE.read_text(encoding="utf-8").partition("### Metrics")[2].partition("\n## ")[0]
    rows = re.findall(r"(?m)^\| `(\w+)` \| ([^|]*) \|", table)
    return {f"longjump_{name}": {*labels.split(", ")} - {""} for name, labels in rows}


def shown() -> dict[str, set[str]]:
    """Name -> labels, of a server to which everything has happened, and of one of a fleet."""
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families((lively().text() + shared().text()).decode()):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        found.setdefault(name, set()).update({label for sample in family.samples for label in sample.labels} - {"le"})
    return found


def test_page_and_server_agree() -> None:
    assert listed() == shown()


def test_control_all_rows_are_read() -> None:
    assert len(listed()) > 30
    assert listed()["longjump_requests_total"] == {"endpoint", "priority", "steps", "code"}

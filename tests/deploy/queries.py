"""What deploy/ asks Prometheus: the expressions of its rules and of its dashboards."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

ROOT = Path(__file__).resolve().parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
DASHBOARDS = sorted((ROOT / "deploy" / "grafana" / "dashboards").glob("*.json"))

VARIABLES = {"$instance": ".*", "$steps": ".*", "$__rate_interval": "5m"}
"""What stands for Grafana's variables where there is no Grafana."""

_NAME = r"\b(?:(?:job|instance|model):longjump[a-z0-9_:]*|longjump_[a-z0-9_]+)"


class Query(NamedTuple):
    """An expression, and what asks it: a rule's name, or a panel's title."""

    asker: str
    expression: str


def rules(kind: str) -> list[dict[str, Any]]:
    """The rules of a kind, `record` or `alert`, as their files have them."""
    files = sorted(PROMETHEUS.glob("*.yml"))
    groups = [group for file in files for group in yaml.safe_load(file.read_text()).get("groups", [])]
    return [rule for group in groups for rule in group["rules"] if kind in rule]


def rule_queries(kind: str) -> list[Query]:
    """The expressions of the rules of a kind."""
    return [Query(rule[kind], rule["expr"]) for rule in rules(kind)]


def dashboard(path: Path) -> dict[str, Any]:
    """A dashboard as Grafana reads it."""
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def panels(path: Path) -> list[dict[str, Any]]:
    """Its panels but the headings."""
    return [panel for panel in dashboard(path)["panels"] if panel["type"] != "row"]


def panel_queries(*paths: Path) -> list[Query]:
    """The expressions of the panels of dashboards (default: all), with values for Grafana's variables."""
    return [
        Query(panel["title"], _filled(target["expr"]))
        for path in paths or DASHBOARDS
        for panel in panels(path)
        for target in panel["targets"]
    ]


def names(expression: str) -> set[str]:
    """The metrics that an expression names, recorded ones with their colons."""
    return set(re.findall(_NAME, expression))


def selectors(expression: str) -> Iterator[str]:
    """Each metric of an expression with the labels that it is asked for: what must find a series."""
    yield from re.findall(_NAME + r"(?:\{[^}]*\})?", expression)


def _filled(expression: str) -> str:
    for variable, value in VARIABLES.items():
        expression = expression.replace(variable, value)
    return expression

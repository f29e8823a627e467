"""The chart carries deploy/'s own rules and dashboard, and its series have the job that they ask for."""

from __future__ import annotations

import re

import yaml

from tests.deploy.chart import CHART, of_kind, rendered
from tests.deploy.queries import DASHBOARDS, PROMETHEUS, ROOT, rule_queries


def test_rules_are_those_of_deploy() -> None:
    (rule,) = of_kind(rendered("fleet"), "PrometheusRule")
    files = [yaml.safe_load((PROMETHEUS / name).read_text()) for name in ("recording.yml", "alerts.yml")]
    assert rule["spec"]["groups"] == [group for file in files for group in file["groups"]]


def test_dashboards_are_those_of_deploy() -> None:
    (found,) = [one for one in of_kind(rendered("fleet"), "ConfigMap") if "longjump.json" in one["data"]]
    assert found["data"] == {path.name: path.read_text() for path in DASHBOARDS}
    assert found["metadata"]["labels"]["grafana_dashboard"] == "1"


def test_redis_is_configured_as_in_compose() -> None:
    (found,) = [
        one["data"]["redis.conf"] for one in of_kind(rendered("fleet"), "ConfigMap") if "redis.conf" in one["data"]
    ]
    assert found.startswith((ROOT / "deploy" / "redis" / "redis.conf").read_text())


def test_chart_has_no_copies() -> None:
    links = [path for path in CHART.rglob("*") if path.suffix in (".yml", ".json", ".conf") and path.parent != CHART]
    assert len(links) == 5
    assert all(path.is_symlink() and path.exists() for path in links)


def test_job_is_the_one_that_the_rules_ask_for() -> None:
    asked = {job for query in rule_queries("alert") for job in re.findall(r'job="(\w+)"', query.expression)}
    assert asked == {"longjump"}
    for monitor in of_kind(rendered("fleet"), "ServiceMonitor", "PodMonitor"):
        label = monitor["spec"]["jobLabel"]
        assert monitor["spec"]["selector"]["matchLabels"][label] == "longjump"


def test_monitors_find_what_they_read() -> None:
    documents = rendered("fleet")
    (service,) = [one for one in of_kind(documents, "Service") if "redis" not in one["metadata"]["name"]]
    (monitor,) = of_kind(documents, "ServiceMonitor")
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert monitor["spec"]["endpoints"][0]["port"] in [port["name"] for port in service["spec"]["ports"]]
    (other,) = of_kind(documents, "PodMonitor")
    found = [
        [port["name"] for port in one["spec"]["template"]["spec"]["containers"][0]["ports"]]
        for one in of_kind(documents, "Deployment")
        if other["spec"]["selector"]["matchLabels"].items() <= one["spec"]["template"]["metadata"]["labels"].items()
    ]
    assert found == [[other["spec"]["podMetricsEndpoints"][0]["port"]]]

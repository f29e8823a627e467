"""What Helm renders of the chart is what Kubernetes takes, by its own schemas, old and new; kinds of others by hand."""

from __future__ import annotations

import copy
from typing import Any

import helm_python
import kubernetes_validate
import pytest
import yaml

from tests.deploy.chart import CHART, NAMES, Document, of_kind, pods, rendered, values
from tests.deploy.queries import ROOT

OLDEST = "1.27"
"""What Chart.yaml says it needs."""

OTHERS = {
    "ScaledObject": ("keda.sh/v1alpha1", {"scaleTargetRef", "triggers"}),
    "TriggerAuthentication": ("keda.sh/v1alpha1", {"secretTargetRef"}),
    "ServiceMonitor": ("monitoring.coreos.com/v1", {"selector", "endpoints"}),
    "PodMonitor": ("monitoring.coreos.com/v1", {"selector", "podMetricsEndpoints"}),
    "PrometheusRule": ("monitoring.coreos.com/v1", {"groups"}),
}
"""Kinds that are not Kubernetes' own: their version, and what their `spec` must have."""


def check(document: Document, version: str) -> None:
    kubernetes_validate.validate(document, version, strict=True)


@pytest.mark.parametrize("version", [OLDEST, kubernetes_validate.latest_version()])
@pytest.mark.parametrize("example", NAMES)
def test_every_document_is_of_its_schema(example: str, version: str) -> None:
    for document in rendered(example):
        if document["kind"] in OTHERS:
            api, wanted = OTHERS[document["kind"]]
            assert document["apiVersion"] == api
            assert wanted <= document["spec"].keys()
        else:
            check(document, version)


@pytest.mark.parametrize(
    ("path", "wrong"),
    [
        (("replicas",), "two"),
        (("template", "spec", "terminationGracePeriodSecond"), 50),
        (("template", "spec", "containers", 0, "readinessProbe", "httpGet", "path"), 7),
    ],
)
def test_control_a_fault_is_found(path: tuple[Any, ...], wrong: object) -> None:
    document = copy.deepcopy(of_kind(rendered("demo"), "Deployment")[0])
    place = document["spec"]
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = wrong
    with pytest.raises(kubernetes_validate.ValidationError):
        check(document, OLDEST)


def test_chart_says_what_it_needs() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert OLDEST in chart["kubeVersion"]
    assert f'__version__ = "{chart["appVersion"]}"' in (ROOT / "longjump.py").read_text()


@pytest.mark.parametrize("example", NAMES)
def test_helm_has_nothing_to_say(example: str) -> None:
    report = helm_python.lint(CHART, values(example), strict=True)
    assert report["errors"] == []
    assert [one for one in report["messages"] if one["error"] != "icon is recommended"] == []


@pytest.mark.parametrize("example", NAMES)
def test_no_two_documents_are_one(example: str) -> None:
    names = [(one["kind"], one["metadata"]["name"]) for one in rendered(example)]
    assert len({*names}) == len(names)
    assert all(len(name) <= 63 for _, name in names)


@pytest.mark.parametrize("example", NAMES)
def test_every_selector_finds_its_pods_and_no_others(example: str) -> None:
    labels = {name: pod["metadata"]["labels"] for name, pod in pods(rendered(example))}
    for one in of_kind(rendered(example), "Deployment", "StatefulSet", "PodDisruptionBudget", "Service"):
        wanted = one["spec"]["selector"].get("matchLabels", one["spec"]["selector"])
        found = [name for name, own in labels.items() if wanted.items() <= own.items()]
        if one["kind"] == "Service":
            assert len(found) == 1, one["metadata"]["name"]
        else:
            assert found == [one["metadata"]["name"]]


@pytest.mark.parametrize("example", NAMES)
def test_everything_named_is_there(example: str) -> None:
    """Secrets and claims of the person's own are named in the values; all else is the chart's."""
    given = str(values(example))
    made = {(one["kind"], one["metadata"]["name"]) for one in rendered(example)}
    for name, pod in pods(rendered(example)):
        (container,) = pod["spec"]["containers"]
        volumes = {one["name"]: one for one in pod["spec"]["volumes"]}
        claimed = {mount["name"] for mount in container["volumeMounts"]}
        assert claimed - {"data"} <= volumes.keys(), name
        secrets = [one["valueFrom"]["secretKeyRef"]["name"] for one in container.get("env", []) if "valueFrom" in one]
        secrets += [one["secret"]["secretName"] for one in volumes.values() if "secret" in one]
        assert [one for one in secrets if ("Secret", one) not in made and one not in given] == []
        maps = [one["configMap"]["name"] for one in volumes.values() if "configMap" in one]
        assert [one for one in maps if ("ConfigMap", one) not in made] == []

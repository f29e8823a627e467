"""The Helm chart as Helm renders it, for each of the examples that it comes with."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Iterator
from functools import cache
from typing import Any

import helm_python
import yaml

from longjump import COMMANDS
from tests.deploy.queries import ROOT

CHART = ROOT / "deploy" / "helm" / "longjump"
EXAMPLES = sorted((ROOT / "deploy" / "helm" / "examples").glob("*.yaml"))
NAMES = [path.stem for path in EXAMPLES]

Document = dict[str, Any]


def values(example: str) -> Document:
    """The values of an example."""
    found: Document = yaml.safe_load((ROOT / "deploy" / "helm" / "examples" / f"{example}.yaml").read_text())
    return found


def render(given: Document) -> list[Document]:
    """What `helm template demo --namespace prod` gives for some values. Raises HelmError."""
    with helm_python.Chart.load(CHART) as chart:
        files = chart.render(given, name="demo", namespace="prod")
    texts = [text for name, text in files.items() if name.endswith(".yaml")]
    return [document for text in texts for document in yaml.safe_load_all(text) if document]


@cache
def rendered(example: str) -> list[Document]:
    """The documents of an example."""
    return render(values(example))


def of_kind(documents: list[Document], *kinds: str) -> list[Document]:
    """Those documents."""
    return [one for one in documents if one["kind"] in kinds]


def pods(documents: list[Document]) -> Iterator[tuple[str, Document]]:
    """Name of what makes them -> the template of its pods."""
    for one in of_kind(documents, "Deployment", "StatefulSet"):
        yield one["metadata"]["name"], one["spec"]["template"]


def longjumps(documents: list[Document]) -> Iterator[tuple[str, Document, Document]]:
    """Name, pod and container of everything that runs longjump."""
    for name, pod in pods(documents):
        (container,) = pod["spec"]["containers"]
        if container["name"] == "longjump":
            yield name, pod["spec"], container


def understood(arguments: list[str]) -> argparse.Namespace:
    """A command line as longjump reads it. Raises argparse.ArgumentError for one that it does not understand."""
    name, *rest = arguments
    parser = argparse.ArgumentParser(exit_on_error=False)
    importlib.import_module(COMMANDS[name].module).add_arguments(parser)
    return parser.parse_args(rest)

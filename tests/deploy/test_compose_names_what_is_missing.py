"""compose.yaml and the files that it mounts agree: schema, services, ports, paths, and the panels of the dashboard."""

from __future__ import annotations

import argparse
import itertools
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from server import serve
from tests.deploy.queries import DASHBOARD, PROMETHEUS, ROOT, dashboard, panels

COMPOSE = ROOT / "deploy" / "compose.yaml"
PROVISIONING = ROOT / "deploy" / "grafana" / "provisioning"
CHECKER = Path(sys.executable).with_name("check-jsonschema")


def composed() -> dict[str, Any]:
    """compose.yaml with the defaults of its variables."""
    text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", COMPOSE.read_text())
    found: dict[str, Any] = yaml.safe_load(text)
    return found


SERVICES: dict[str, Any] = composed()["services"]


def mounts(service: str) -> dict[str, str]:
    """Place in the container -> what lies there."""
    pairs = [volume.split(":")[:2] for volume in SERVICES[service]["volumes"]]
    return {place: source for source, place in pairs}


def in_repository(service: str, place: str) -> Path:
    """The file of this repository that a container sees at a place."""
    for mounted, source in mounts(service).items():
        if place.startswith(mounted):
            return (COMPOSE.parent / source / Path(place).relative_to(mounted)).resolve()
    raise AssertionError(f"nothing is mounted at {place} of {service}")


def schema_check(path: Path) -> tuple[int, str]:
    command = [CHECKER, "--builtin-schema", "vendor.compose-spec", path]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return ran.returncode, ran.stdout + ran.stderr


def test_schema_is_kept() -> None:
    code, said = schema_check(COMPOSE)
    assert code == 0, said


def test_control_schema_finds_a_misspelt_key(tmp_path: Path) -> None:
    path = tmp_path / "compose.yaml"
    path.write_text(COMPOSE.read_text().replace("stop_grace_period", "stop_grace"))
    code, said = schema_check(path)
    assert code != 0
    assert "stop_grace" in said


@pytest.mark.parametrize("service", SERVICES)
def test_service_is_pinned_and_private(service: str) -> None:
    one = SERVICES[service]
    name, _, tag = one["image"].partition(":")
    assert tag not in ("", "latest"), f"{name} floats"
    assert all(port.startswith("127.0.0.1:") for port in one["ports"]), "published beyond this machine"
    assert one["cap_drop"] == ["ALL"]
    assert one.get("read_only") or service == "grafana"  # Grafana writes where it likes
    assert "healthcheck" in one or "HEALTHCHECK" in (COMPOSE.parent / ".." / one["build"]["dockerfile"]).read_text()


@pytest.mark.parametrize("service", SERVICES)
def test_mounted_files_exist(service: str) -> None:
    volumes = composed()["volumes"]
    for place, source in mounts(service).items():
        if source.startswith("."):
            assert (COMPOSE.parent / source).exists(), f"{place} of {service}: {source}"
        else:
            assert source in volumes


def test_server_understands_its_command_and_may_drain() -> None:
    parser = argparse.ArgumentParser(exit_on_error=False)
    serve.add_arguments(parser)
    command, *arguments = SERVICES["longjump"]["command"].split()
    args = parser.parse_args(arguments)
    assert command == "serve"
    assert args.drain_seconds < int(SERVICES["longjump"]["stop_grace_period"].removesuffix("s"))
    for bundle in args.bundles:
        assert (in_repository("longjump", str(bundle)) / "manifest.json").exists()


def test_prometheus_reads_the_server() -> None:
    assert in_repository("prometheus", "/etc/prometheus/prometheus.yml") == PROMETHEUS / "prometheus.yml"
    (job,) = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())["scrape_configs"]
    assert job["static_configs"] == [{"targets": ["longjump:8000"]}]
    assert job["job_name"] == "longjump"  # the alerts ask for it by this name
    assert "longjump" in SERVICES
    assert "EXPOSE 8000" in (ROOT / "deploy" / "docker" / "cpu.Dockerfile").read_text()


def test_grafana_finds_prometheus_and_the_dashboard() -> None:
    (source,) = yaml.safe_load((PROVISIONING / "datasources" / "prometheus.yaml").read_text())["datasources"]
    url = urlsplit(source["url"])
    assert url.hostname in SERVICES
    assert SERVICES[url.hostname]["ports"][0].endswith(f":{url.port}")
    assert (
        source["jsonData"]["timeInterval"]
        == yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())["global"]["scrape_interval"]
    )
    (provider,) = yaml.safe_load((PROVISIONING / "dashboards" / "longjump.yaml").read_text())["providers"]
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home.startswith(provider["options"]["path"])
    assert in_repository("grafana", home) == DASHBOARD
    assert in_repository("grafana", "/etc/grafana/provisioning/datasources") == PROVISIONING / "datasources"


def test_every_panel_says_what_it_shows() -> None:
    variables = {one["name"] for one in dashboard()["templating"]["list"]}
    assert len({panel["id"] for panel in dashboard()["panels"]}) == len(dashboard()["panels"])
    for panel in panels():
        title = panel["title"]
        assert panel["description"], title
        assert panel["fieldConfig"]["defaults"]["unit"], title
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}, title
        asked = {name for target in panel["targets"] for name in re.findall(r"\$(\w+)", target["expr"])}
        assert asked <= variables | {"__rate_interval"}, title


def test_panels_do_not_cover_each_other() -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in dashboard()["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24, panel["title"]
        for cell in itertools.product(range(at["x"], at["x"] + at["w"]), range(at["y"], at["y"] + at["h"])):
            assert cell not in taken, f"{panel['title']} lies on {taken[cell]}"
            taken[cell] = panel["title"]

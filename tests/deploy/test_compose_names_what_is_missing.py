"""The compose files and what they mount agree: schema, services, ports, paths, and the panels of the dashboard."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from tests.deploy.chart import understood
from tests.deploy.queries import DASHBOARDS, PROMETHEUS, ROOT, dashboard, panels

COMPOSE = ROOT / "deploy" / "compose.yaml"
FLEET = ROOT / "deploy" / "compose.fleet.yaml"
PROVISIONING = ROOT / "deploy" / "grafana" / "provisioning"
CHECKER = Path(sys.executable).with_name("check-jsonschema")


def read(path: Path) -> dict[str, Any]:
    """A file with the defaults of its variables."""
    text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", path.read_text())
    found: dict[str, Any] = yaml.safe_load(text)
    return found


def added(one: Any, other: Any) -> Any:
    """What compose makes of two files: maps are joined, lists follow each other, all else is the second's."""
    if isinstance(one, dict) and isinstance(other, dict):
        return {**one, **{name: added(one[name], value) if name in one else value for name, value in other.items()}}
    return one + other if isinstance(one, list) and isinstance(other, list) else other


STACKS = {"one machine": read(COMPOSE), "fleet": added(read(COMPOSE), read(FLEET))}
EACH = [(stack, service) for stack, found in STACKS.items() for service in found["services"]]


def service(stack: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = STACKS[stack]["services"][name]
    return found


def mounts(one: dict[str, Any]) -> dict[str, str]:
    """Place in the container -> what lies there."""
    pairs = [volume.split(":")[:2] for volume in one["volumes"]]
    return {place: source for source, place in pairs}


def in_repository(one: dict[str, Any], place: str) -> Path:
    """The file of this repository that a container sees at a place."""
    for mounted, source in mounts(one).items():
        if place.startswith(mounted):
            return (COMPOSE.parent / source / Path(place).relative_to(mounted)).resolve()
    raise AssertionError(f"nothing is mounted at {place}")


def schema_check(path: Path) -> tuple[int, str]:
    command = [CHECKER, "--builtin-schema", "vendor.compose-spec", path]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return ran.returncode, ran.stdout + ran.stderr


@pytest.mark.parametrize("path", [COMPOSE, FLEET], ids=lambda path: path.name)
def test_schema_is_kept(path: Path) -> None:
    code, said = schema_check(path)
    assert code == 0, said


@pytest.mark.parametrize("path", [COMPOSE, FLEET], ids=lambda path: path.name)
def test_control_schema_finds_a_misspelt_key(path: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "compose.yaml"
    wrong.write_text(path.read_text().replace("stop_grace_period", "stop_grace"))
    code, said = schema_check(wrong)
    assert code != 0
    assert "stop_grace" in said


@pytest.mark.parametrize(("stack", "name"), EACH)
def test_service_is_pinned_and_private(stack: str, name: str) -> None:
    one = service(stack, name)
    image, _, tag = one["image"].partition(":")
    assert tag not in ("", "latest"), f"{image} floats"
    assert all(port.startswith("127.0.0.1:") for port in one.get("ports", [])), "published beyond this machine"
    assert one["cap_drop"] == ["ALL"]
    assert one.get("read_only") or name == "grafana"  # Grafana writes where it likes
    assert "healthcheck" in one or "HEALTHCHECK" in (COMPOSE.parent / ".." / one["build"]["dockerfile"]).read_text()


@pytest.mark.parametrize(("stack", "name"), EACH)
def test_mounted_files_exist(stack: str, name: str) -> None:
    for place, source in mounts(service(stack, name)).items():
        if source.startswith("."):
            assert (COMPOSE.parent / source).exists(), f"{place} of {name}: {source}"
        else:
            assert source in STACKS[stack]["volumes"]


@pytest.mark.parametrize(("stack", "name"), [(stack, name) for stack, name in EACH if name in ("longjump", "worker")])
def test_longjump_understands_its_command_and_may_drain(stack: str, name: str) -> None:
    one = service(stack, name)
    args = understood(one["command"].split())
    assert args.drain_seconds < int(one["stop_grace_period"].removesuffix("s"))
    for bundle in args.bundles:
        assert (in_repository(one, str(bundle)) / "manifest.json").exists()
    assert (stack, name, bool(args.bundles)) != ("fleet", "longjump", True), "an API process has no engine"
    if args.redis is not None:
        assert urlsplit(args.redis).hostname in STACKS[stack]["services"]
        assert urlsplit(args.redis).password is None
        assert "LONGJUMP_REDIS_PASSWORD" in one["environment"]


def test_workers_are_asked_where_they_answer() -> None:
    one = service("fleet", "worker")
    args = understood(one["command"].split())
    assert f":{args.metrics_port}/readyz" in one["healthcheck"]["test"][-1]
    assert args.metrics_host == "0.0.0.0"
    (job,) = yaml.safe_load((PROMETHEUS / "fleet.yml").read_text())["scrape_configs"]
    assert job["static_configs"][0]["targets"] == ["longjump:8000"]
    assert [(one["names"], one["port"]) for one in job["dns_sd_configs"]] == [(["worker"], args.metrics_port)]
    assert one["scale"] == 2


def test_prometheus_has_the_configuration_of_its_stack() -> None:
    one = service("fleet", "prometheus")
    path = one["command"].partition("--config.file=")[2].split()[0]
    assert in_repository(one, path) == PROMETHEUS / "fleet.yml"
    assert "command" not in service("one machine", "prometheus")  # the image's own: prometheus.yml
    jobs = [yaml.safe_load((PROMETHEUS / name).read_text()) for name in ("prometheus.yml", "fleet.yml")]
    assert jobs[0]["global"] == jobs[1]["global"]
    assert jobs[0]["rule_files"] == jobs[1]["rule_files"]


def test_redis_refuses_rather_than_forgets_and_asks_for_a_password() -> None:
    one = service("fleet", "redis")
    text = in_repository(one, "/etc/redis/redis.conf").read_text()
    settings = dict(line.split(" ", 1) for line in text.splitlines() if line and not line.startswith("#"))
    assert (settings["maxmemory-policy"], settings["appendonly"]) == ("noeviction", "yes")
    assert settings["dir"] in mounts(one)
    assert "requirepass" in one["command"][-1]
    assert "REDIS_PASSWORD" not in str(one["command"])
    assert "ports" not in one


def test_prometheus_reads_the_server() -> None:
    assert (
        in_repository(service("one machine", "prometheus"), "/etc/prometheus/prometheus.yml")
        == PROMETHEUS / "prometheus.yml"
    )
    (job,) = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())["scrape_configs"]
    assert job["static_configs"] == [{"targets": ["longjump:8000"]}]
    assert job["job_name"] == "longjump"  # the alerts ask for it by this name
    assert "longjump" in STACKS["one machine"]["services"]
    assert "EXPOSE 8000" in (ROOT / "deploy" / "docker" / "cpu.Dockerfile").read_text()


def test_grafana_finds_prometheus_and_the_dashboard() -> None:
    (source,) = yaml.safe_load((PROVISIONING / "datasources" / "prometheus.yaml").read_text())["datasources"]
    url = urlsplit(source["url"])
    assert url.hostname is not None
    assert service("one machine", url.hostname)["ports"][0].endswith(f":{url.port}")
    assert (
        source["jsonData"]["timeInterval"]
        == yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())["global"]["scrape_interval"]
    )
    (provider,) = yaml.safe_load((PROVISIONING / "dashboards" / "longjump.yaml").read_text())["providers"]
    home = service("one machine", "grafana")["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home.startswith(provider["options"]["path"])
    assert in_repository(service("one machine", "grafana"), home) in DASHBOARDS
    assert (
        in_repository(service("one machine", "grafana"), "/etc/grafana/provisioning/datasources")
        == PROVISIONING / "datasources"
    )


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_every_panel_says_what_it_shows(path: Path) -> None:
    found = dashboard(path)
    variables = {one["name"] for one in found["templating"]["list"]}
    assert len({panel["id"] for panel in found["panels"]}) == len(found["panels"])
    for panel in panels(path):
        title = panel["title"]
        assert panel["description"], title
        assert panel["fieldConfig"]["defaults"]["unit"], title
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}, title
        asked = {name for target in panel["targets"] for name in re.findall(r"\$(\w+)", target["expr"])}
        assert asked <= variables | {"__rate_interval"}, title


def test_dashboards_are_told_apart() -> None:
    assert len({dashboard(path)["uid"] for path in DASHBOARDS}) == len(DASHBOARDS)
    assert {tag for path in DASHBOARDS for tag in dashboard(path)["tags"]} == {"longjump"}


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_panels_do_not_cover_each_other(path: Path) -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in dashboard(path)["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24, panel["title"]
        for cell in itertools.product(range(at["x"], at["x"] + at["w"]), range(at["y"], at["y"] + at["h"])):
            assert cell not in taken, f"{panel['title']} lies on {taken[cell]}"
            taken[cell] = panel["title"]

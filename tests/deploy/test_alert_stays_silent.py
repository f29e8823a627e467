"""Every alert fires on its fault and on nothing else, as promtool's own tests of rules have it (tests/deploy/rules)."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.queries import PROMETHEUS, ROOT, rules

PROMTOOL = shutil.which("promtool")
CASES = sorted(Path(__file__).with_name("rules").glob("*.test.yml"))

needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="needs promtool: Debian package prometheus")


def promtool(*arguments: str | Path) -> tuple[int, str]:
    assert PROMTOOL is not None
    command = [PROMTOOL, *map(str, arguments)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    return ran.returncode, ran.stdout + ran.stderr


def checks() -> list[dict[str, Any]]:
    """The checks of alerts in all files."""
    groups = [group for file in CASES for group in yaml.safe_load(file.read_text())["tests"]]
    return [check for group in groups for check in group.get("alert_rule_test", [])]


@needs_promtool
@pytest.mark.parametrize("name", ["prometheus.yml", "fleet.yml"])
def test_configuration_is_read(name: str) -> None:
    code, said = promtool("check", "config", "--lint=all", "--lint-fatal", PROMETHEUS / name)
    assert code == 0, said
    assert "2 rule files found" in said


@needs_promtool
@pytest.mark.parametrize("cases", CASES, ids=lambda path: path.name)
def test_alerts_do_as_their_cases_say(cases: Path) -> None:
    code, said = promtool("test", "rules", cases)
    assert code == 0, said


@needs_promtool
def test_control_a_deaf_alert_is_found(tmp_path: Path) -> None:
    """The same cases on alerts of which one was turned."""
    for path in (*PROMETHEUS.glob("*.yml"), CASES[0]):
        folder = tmp_path / path.parent.relative_to(ROOT)
        folder.mkdir(parents=True, exist_ok=True)
        text = path.read_text()
        if path == CASES[0]:
            found = yaml.safe_load(text)
            found["tests"] = [group for group in found["tests"] if group["name"] == "no warm worker"]
            text = yaml.safe_dump(found)
        (folder / path.name).write_text(text.replace("longjump_worker_up == 0", "longjump_worker_up > 1"))
    code, said = promtool("test", "rules", tmp_path / CASES[0].relative_to(ROOT))
    assert code != 0
    assert "LongjumpNoWarmWorker" in said


@pytest.mark.parametrize("alert", [rule["alert"] for rule in rules("alert")])
def test_every_alert_has_a_case_of_each_kind(alert: str) -> None:
    expected = [bool(check["exp_alerts"]) for check in checks() if check["alertname"] == alert]
    assert True in expected, f"{alert} is not seen to fire"
    assert False in expected, f"{alert} is not seen to stay silent"

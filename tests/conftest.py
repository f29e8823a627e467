"""Rules for every suite: in CI a skipped test is a failed one; files without a test that is wanted are not imported.

``LONGJUMP_CI=1`` (set by ``.ci/run``, which installs what every suite needs) turns each skip, of a test or of a whole
file, into a failure. Elsewhere a missing library or tool skips with its reason, as usual.

``-m alone``, ``-m slow`` and ``-m gpu`` want a handful of files. A file that nowhere names the marker has no such test,
so it is left alone: importing all files takes longer than those tests do.
"""

from __future__ import annotations

import os
import re
from collections.abc import Generator
from pathlib import Path

import pytest

RARE = re.compile(r"(alone|slow|gpu)( and not \w+)*")
"""Expressions for -m that no test without the first marker meets."""

SKIP_IS_FAILURE = os.environ.get("LONGJUMP_CI") == "1"


def _refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    expected_failure = hasattr(report, "wasxfail")
    if SKIP_IS_FAILURE and report.skipped and not expected_failure:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        report.outcome = "failed"
        report.longrepr = (
            f"{report.nodeid}: {reason}\n(LONGJUMP_CI=1: CI installs what this needs, so a skip is a failure)"
        )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _refuse_skip(report)
    return report


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    if collection_path.suffix == ".py" and (rare := RARE.fullmatch(config.option.markexpr)):
        return f"mark.{rare[1]}" not in collection_path.read_text(encoding="utf-8") or None
    return None

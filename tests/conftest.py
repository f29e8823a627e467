"""Rules for every suite: in CI a skipped test is a failed one.

``LONGJUMP_CI=1`` (set by ``.ci/run``, which installs what every suite needs) turns each skip, of a test or of a whole
file, into a failure. Elsewhere a missing library or tool skips with its reason, as usual.
"""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest

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

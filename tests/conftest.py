"""Rules for every suite: in CI a skipped test is a failed one; files without a test that is wanted are not imported.

``LONGJUMP_CI=1`` (set by ``.ci/run``, which installs what every suite needs) turns each skip, of a test or of a whole
file, into a failure. Elsewhere a missing library or tool skips with its reason, as usual.

``-m alone``, ``-m slow`` and ``-m gpu`` want a handful of files. A file that nowhere names the marker has no such test,
so it is left alone: importing all files takes longer than those tests do.

Several processes share the tests, a file at a time: one process more than there are cores, because many tests wait,
and the files that take longest first, so that none of them is left over at the end.
"""

from __future__ import annotations

import os
import re
from collections.abc import Generator
from pathlib import Path

import pytest

RARE = re.compile(r"(alone|slow|gpu)( and not \w+)*")
"""Expressions for -m that no test without the first marker meets."""

LONG = (
    "road/test_method_is_lost_on_the_road",
    "trainer/processes/test_two_processes_train_another_network",
    "server/fleet/test_job_dies_with_its_process",
    "export/test_real_engines_are_not_built",
    "trainer/objectives/test_told_scale_is_not_learned",
    "server/fleet/drills/test_machines_apart_lose_work",
    "trainer/test_adversary_leads_elsewhere",
    "trainer/objectives/test_guidance_has_another_scale",
    "server/fleet/test_version_gets_a_request_of_another",
    "trainer/processes/test_torchrun_starts_another_program",
    "trainer/data/test_facets_change_with_the_workers",
    "server/playground/test_refusal_is_not_explained",
    "trainer/processes/test_two_processes_end_apart",
    "trainer/objectives/test_gradient_points_away",
    "road/test_guidance_is_lost_on_the_road",
    "server/test_bench_leaves_a_part_out",
    "trainer/evaluate/test_checkpoint_and_bundle_measure_differently",
    "server/fleet/test_shared_cache_fills_redis",
    "trainer/data/test_data_build_says_no_or_makes_a_data_set",
    "server/test_new_version_loses_requests",
    "road/test_road_is_broken",
    "server/playground/test_control_does_something_else",
    "trainer/objectives/test_imf_is_not_a_regression_on_data",
    "server/test_sigterm_drains",
    "trainer/evaluate/test_searched_grid_is_not_served",
    "server/test_killed_worker_loses_nothing",
    "trainer/test_card_leaves_out",
    "server/playground/test_page_shuts_someone_out",
    "trainer/objectives/test_target_is_biased",
    "server/test_generated_request_breaks_the_server",
    "trainer/test_best_checkpoint_is_lost",
    "server/test_new_version_fails_a_request",
    "trainer/test_augmentation_reaches_samples",
    "server/test_odd_input_is_a_server_error",
    "server/fleet/drills/test_overload_is_not_told",
    "server/fleet/drills/test_clocks_differ",
)
"""The files that take longest, those that compute mixed with those that wait."""

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


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    return (os.cpu_count() or 1) + 1


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {f"tests/{name}.py": place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: places.get(item.nodeid.partition("::")[0], len(LONG)))

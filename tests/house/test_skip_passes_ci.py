"""Under LONGJUMP_CI=1 a skipped suite must not pass as green."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import clean_environment

SKIPPING = {
    "test": "import pytest\n\ndef test_a():\n    pytest.skip('no tool here')\n",
    "mark": "import pytest\n\n@pytest.mark.skipif(True, reason='no tool here')\ndef test_a():\n    pass\n",
    "file": "import pytest\n\npytest.importorskip('no_such_library', reason='no tool here')\n",
}


def run_pytest(folder: Path, ci: str) -> subprocess.CompletedProcess[str]:
    """Without the plugins that happen to be installed: importing them takes longer than everything else here."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(folder), str(folder)]
    environment = clean_environment(LONGJUMP_CI=ci, PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment)


@pytest.fixture
def suite(root: Path, tmp_path: Path) -> Path:
    shutil.copy(root / "tests" / "conftest.py", tmp_path / "conftest.py")
    return tmp_path


@pytest.mark.parametrize("how", SKIPPING)
def test_skip_fails_in_ci_and_says_why(suite: Path, how: str) -> None:
    (suite / "test_it.py").write_text(SKIPPING[how])
    ran = run_pytest(suite, ci="1")
    assert ran.returncode != 0
    assert "no tool here" in ran.stdout


@pytest.mark.parametrize("how", SKIPPING)
def test_skip_is_allowed_elsewhere(suite: Path, how: str) -> None:
    (suite / "test_it.py").write_text(SKIPPING[how])
    (suite / "test_other.py").write_text("def test_other():\n    pass\n")
    assert run_pytest(suite, ci="0").returncode == 0


def test_expected_failure_is_no_skip(suite: Path) -> None:
    (suite / "test_it.py").write_text(
        "import pytest\n\n@pytest.mark.xfail(strict=True)\ndef test_a():\n    assert False\n"
    )
    assert run_pytest(suite, ci="1").returncode == 0

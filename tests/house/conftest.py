"""What the tests of the house share: where it stands, and its wheel installed as a person would install it."""

from __future__ import annotations

import os
import site
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def clean_environment(**extra: str) -> dict[str, str]:
    """This process's environment without what changes where Python looks for modules, plus `extra`."""
    ours = {"PYTHONPATH", "PYTHONSAFEPATH", "PYTHONHOME", "LONGJUMP_TRACEBACK"}
    return {key: value for key, value in os.environ.items() if key not in ours} | extra


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)]
    built = subprocess.run(command, capture_output=True, text=True, env=clean_environment())
    assert built.returncode == 0, built.stdout + built.stderr
    (path,) = out.glob("*.whl")
    return path


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ``bin`` folder of a fresh environment with the wheel in it (not editable).

    Its dependencies are this environment's, lent through a .pth line, which does not follow the .pth files in there:
    an editable install of this checkout stays out.
    """
    home = tmp_path_factory.mktemp("installed")
    venv.create(home, with_pip=False, symlinks=True)
    python = home / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check"]
    install = subprocess.run(
        [*pip, "install", "--quiet", "--no-deps", "--no-index", str(wheel)],
        capture_output=True,
        text=True,
        env=clean_environment(),
    )
    assert install.returncode == 0, install.stdout + install.stderr
    (own,) = home.glob("lib/python*/site-packages")
    (own / "lent_dependencies.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    return home / "bin"


@pytest.fixture
def longjump(installed: Path) -> Run:
    """Run the installed command: ``longjump("inspect", "PATH", cwd=folder)``."""

    def run(*arguments: str, cwd: Path, timeout: float = 120, **env: str) -> subprocess.CompletedProcess[str]:
        command = [str(installed / "longjump"), *arguments]
        environment = clean_environment(**env)
        return subprocess.run(
            command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=timeout, check=False
        )

    return run


@pytest.fixture
def trap(tmp_path: Path) -> Path:
    """A person's folder with their own ``models/``, ``server.py`` and so on: importing any of them ends the process."""
    folder = tmp_path / "theirs"
    for name in ("models", "export", "trainer"):
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text(f"raise SystemExit('their own {name} was imported')\n")
    for name in ("server", "longjump"):
        (folder / f"{name}.py").write_text(f"raise SystemExit('their own {name} was imported')\n")
    return folder

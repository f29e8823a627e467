"""What the front door says when something is wrong: one line, the right exit code, and a traceback only on request."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

import longjump

from .conftest import clean_environment

Owner = Callable[[argparse.Namespace], int]


@pytest.fixture
def owner(monkeypatch: pytest.MonkeyPatch) -> Callable[[Owner], None]:
    """Make `run` the owner of subcommand `serve`."""

    def install(run: Owner) -> None:
        module = ModuleType("owner_of_a_test", "What it does.")
        module.add_arguments = lambda parser: parser.add_argument("--port", type=int)  # type: ignore[attr-defined]
        module.run = run  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setitem(longjump.COMMANDS, "serve", longjump.Command(module.__name__, "help"))
        monkeypatch.delenv("LONGJUMP_TRACEBACK", raising=False)

    return install


def raising(error: BaseException) -> Owner:
    def run(_: argparse.Namespace) -> int:
        raise error

    return run


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ValueError("steps is 3; this bundle supports 1, 2, 4"), "steps is 3; this bundle supports 1, 2, 4"),
        (FileNotFoundError(2, "No such file or directory", "a/b"), "a/b: No such file or directory"),
        (PermissionError("the folder is read-only"), "the folder is read-only"),
        (ModuleNotFoundError("No module named 'torch'", name="torch.nn"), "pip install 'longjump[train]'"),
        (ModuleNotFoundError("No module named 'onnxruntime'", name="onnxruntime"), "'longjump[gpu]'"),
        (ModuleNotFoundError("No module named 'onnx'", name="onnx"), "pip install 'longjump[bundle]'"),
        (ValueError(), "ValueError"),
    ],
)
def test_their_error_is_one_line_and_exit_2(
    owner: Callable[[Owner], None], capsys: pytest.CaptureFixture[str], error: Exception, message: str
) -> None:
    owner(raising(error))
    assert longjump.main(["serve"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("longjump serve: error: ")
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("error", [KeyError("t"), ModuleNotFoundError("no server.tyop", name="server.tyop")])
def test_our_fault_keeps_its_traceback(owner: Callable[[Owner], None], error: Exception) -> None:
    owner(raising(error))
    with pytest.raises(type(error)):
        longjump.main(["serve"])


def test_traceback_on_request(owner: Callable[[Owner], None], monkeypatch: pytest.MonkeyPatch) -> None:
    owner(raising(ValueError("steps is 3")))
    monkeypatch.setenv("LONGJUMP_TRACEBACK", "1")
    with pytest.raises(ValueError, match="steps is 3"):
        longjump.main(["serve"])


def test_interrupt_is_quiet(owner: Callable[[Owner], None], capsys: pytest.CaptureFixture[str]) -> None:
    owner(raising(KeyboardInterrupt()))
    assert longjump.main(["serve"]) == 130
    assert capsys.readouterr() == ("", "")


def test_exit_code_is_the_owners(owner: Callable[[Owner], None]) -> None:
    owner(lambda args: int(args.port))
    assert longjump.main(["serve", "--port", "7"]) == 7


def test_unknown_command_suggests_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert longjump.main(["sevre"]) == 2
    assert "did you mean 'serve'?" in capsys.readouterr().err


def test_unknown_command_far_from_all_lists_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert longjump.main(["xyzzy"]) == 2
    err = capsys.readouterr().err
    assert all(name in err for name in longjump.COMMANDS)


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"], ["help"]])
def test_overview_lists_every_command(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert longjump.main(arguments) == 0
    out = capsys.readouterr().out
    assert all(f"\n  {name} " in out for name in longjump.COMMANDS)


def test_version_is_the_distributions(capsys: pytest.CaptureFixture[str]) -> None:
    assert longjump.main(["--version"]) == 0
    assert capsys.readouterr().out == f"longjump {longjump.__version__}\n"


def test_reader_that_leaves_is_no_error(root: Path) -> None:
    """`longjump --help | head -0`: nothing on stderr, although the flush fails."""
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, str(root / "longjump.py"), "--help"]
    ran = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, env=clean_environment())
    os.close(write)
    assert ran.stderr == ""
    assert ran.returncode == 141


def test_front_door_imports_only_the_standard_library(root: Path) -> None:
    code = "import sys; before = set(sys.modules); import longjump; print(*(set(sys.modules) - before))"
    ran = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    foreign = {name.partition(".")[0] for name in ran.stdout.split()} - sys.stdlib_module_names - {"longjump"}
    assert not foreign

"""`longjump bench` and `longjump soak` refuse what they could not finish before they measure anything, in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

import longjump
from server.bench import command


def said(capfd: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line of a command that is refused before it prints anything."""
    assert longjump.main(arguments) == 2
    printed = capfd.readouterr()
    assert printed.out == ""
    (line,) = printed.err.splitlines()
    return line


@pytest.fixture(autouse=True)
def _nothing_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(*_: object) -> None:
        raise AssertionError("measured")

    monkeypatch.setattr(command, "Setup", measure)


@pytest.mark.parametrize(
    ("file", "only", "reason"),
    [
        ("nowhere/x.json", (), "{}/nowhere is not a folder, so x.json cannot be written into it"),
        ("nowhere/x.json", ("engines",), "{}/nowhere is not a folder, so x.json cannot be written into it"),
        ("/dev/null", ("engines",), "/dev/null is no ordinary file"),
        (".", ("engines", "idle"), "is a folder; give the file to write"),
        ("x.json", ("idle", "kill"), "is for the times of engines; add them: --only idle kill engines"),
    ],
)
def test_json_that_could_not_be_written(
    images: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], file: str, only: tuple[str, ...], reason: str
) -> None:
    flags = ["--json", str(tmp_path / file), *(["--only", *only] if only else [])]
    assert reason.format(tmp_path) in said(capfd, "bench", str(images), *flags)
    assert list(tmp_path.iterdir()) == []


def test_what_can_be_written_is_measured(images: Path, tmp_path: Path) -> None:
    """The control: nothing but the faults above is refused."""
    for flags in (["--json", str(tmp_path / "x.json")], ["--json", "x.json", "--only", "engines"]):
        with pytest.raises(AssertionError, match="measured"):
            longjump.main(["bench", str(images), *flags])


@pytest.mark.parametrize("name", ["bench", "soak"])
def test_folder_that_is_no_bundle(tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str) -> None:
    assert f"{tmp_path} is not a bundle: it has no manifest.json" in said(capfd, name, str(tmp_path))
    assert f"{tmp_path}/nowhere: there is no such bundle" in said(capfd, name, str(tmp_path / "nowhere"))

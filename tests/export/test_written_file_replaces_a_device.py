"""What a person names as a file to write is written, whole; a link stays one, and a device or a folder is refused."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

import longjump
from export.runtime.bundle import Bundle
from export.runtime.target import check_target, write_file, write_files


def test_a_link_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "kept" / "file")
    for data in (b"new", b"newer"):  # a link that leads to nothing yet, and one to a file
        write_file(tmp_path / "link", data)
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "kept" / "file").read_bytes() == data
    assert [file.name for file in (tmp_path / "kept").iterdir()] == ["file"]


def test_a_fifo_is_replaced(exported_image: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("fifo")
    for name in ("fifo", "link"):
        file = tmp_path / name
        assert longjump.main(["generate", str(exported_image.path), "-o", str(file), "--format", "png"]) == 2
        assert f"{file} is no ordinary file; give the name of one" in capsys.readouterr().err
    assert (tmp_path / "fifo").is_fifo()
    assert (tmp_path / "link").is_symlink()


def test_what_cannot_be_written_is_said_after_the_work(tmp_path: Path) -> None:
    (tmp_path / "round").symlink_to("round")
    (tmp_path / "astray").symlink_to("nowhere/file")
    for out, wanted in [
        (Path("/dev/null"), "/dev/null is no ordinary file"),
        (tmp_path / "round", "round is no ordinary file"),
        (tmp_path, "is a folder; give the file to write"),
        (tmp_path / "astray", f"{tmp_path}/nowhere is not a folder, so file cannot be written into it"),
    ]:
        with pytest.raises((ValueError, OSError), match=re.escape(wanted)):
            check_target(out)
    assert check_target(tmp_path / "new") == (tmp_path / "new").resolve()


def test_one_of_several_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk leaves all as it was, and is said of the file that was asked for."""
    (tmp_path / "first").write_bytes(b"old")
    write = Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        if "second" in path.name:
            raise OSError(28, "No space left on device")
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left") as error:
        write_files({tmp_path / "first": b"new", tmp_path / "second": b"new"})
    assert error.value.filename == str(tmp_path / "second")
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("first", b"old")]

"""`longjump export` of something that it cannot export names all that it could have been."""

from __future__ import annotations

from pathlib import Path

import pytest

import longjump


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("nowhere", "nowhere: there is no such checkpoint, run or bundle"),
        ("empty", "empty: neither a checkpoint (no config.json) nor a run with step-* checkpoints in it; a bundle "),
    ],
)
def test_source_that_is_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str], source: str, reason: str) -> None:
    (tmp_path / "empty").mkdir()
    assert longjump.main(["export", str(tmp_path / source), "--out", str(tmp_path / "out")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert reason in line
    assert not (tmp_path / "out").exists()
